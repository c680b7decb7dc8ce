"""What can be asked of an explanation, what is refused before any work, and what is kept of work that is stopped."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.errors import FeatureError, ModelError
from mil_heatmaps.explain import by_forwards
from mil_heatmaps.explain.settings import EXPLANATIONS
from mil_heatmaps.explain.watch import Watch
from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.models import explaining, memory
from mil_heatmaps.models.abmil import ABMIL
from mil_heatmaps.models.dftd import DFTD
from mil_heatmaps.models.transformer import Transformer
from mil_heatmaps.slides.patch_grid import PatchGrid
from tests.helpers.mil_lab_checks import random_features

WIDTH = 12
LATTICE = np.stack([np.arange(24) % 6, np.arange(24) // 6], axis=1) * 256


def abmil(num_classes: int = 3) -> ABMIL:
    torch.manual_seed(0)
    return ABMIL(WIDTH, 16, 8, num_classes=num_classes).eval()


def transformer() -> Transformer:
    torch.manual_seed(0)
    return Transformer(WIDTH, 16, num_heads=2, num_classes=2).eval()


def values(found: Any, name: str) -> Any:
    return found.scores[name].values


def test_six_scores_are_offered_where_there_is_a_prediction() -> None:
    assert set(EXPLANATIONS) < set(abmil().score_names())
    headless = abmil(0)
    assert set(EXPLANATIONS).isdisjoint(headless.score_names())
    assert {headless.refused_scores()[name] for name in EXPLANATIONS} == {"the checkpoint has no classifier"}
    with pytest.raises(ModelError, match="cannot give the score 'single': the checkpoint has no classifier"):
        headless.explain(random_features(5, WIDTH), "single")


def test_groups_that_are_drawn_anew_are_refused_by_name() -> None:
    drawn = DFTD(WIDTH, 16, total_instance=8, num_classes=2).eval()
    with pytest.raises(ModelError, match="draws all its random groups again"):
        drawn.explain(random_features(30, WIDTH), "leave_one_out")
    with pytest.raises(ModelError, match="draws all its random groups again"):
        drawn.faithfulness(random_features(30, WIDTH), ["attention_gate"])


def test_old_and_new_names_mix_and_keep_their_order() -> None:
    found = abmil().explain(random_features(9, WIDTH), ["single", "attention", "leave_one_out"], targets="predicted")
    assert list(found.scores) == ["single", "attention", "leave_one_out"]
    assert values(found, "attention").shape == (9, 1)
    assert values(found, "single").dtype == np.float32
    best = int(found.logits.argmax())
    assert found.scores["single"].names == (f"class {best}",)
    assert found.scores["single"].kind == "single"


@pytest.mark.parametrize(
    ("targets", "columns"),
    [("all", [0, 1, 2]), ("b", [1]), (2, [2]), (["c", 0, "c"], [2, 0])],
)
def test_targets(targets: Any, columns: list[int]) -> None:
    x, names = random_features(9, WIDTH), ["a", "b", "c"]
    every = abmil().explain(x, "leave_one_out", names)
    some = abmil().explain(x, "leave_one_out", names, targets=targets)
    assert some.scores["leave_one_out"].names == tuple(names[i] for i in columns)
    np.testing.assert_array_equal(values(some, "leave_one_out"), values(every, "leave_one_out")[:, columns])


def test_two_classes_mirror_each_other_and_one_output_is_the_second_of_two() -> None:
    x = random_features(9, WIDTH)
    two = values(abmil(2).explain(x, "leave_one_out"), "leave_one_out")
    np.testing.assert_allclose(two[:, 0], -two[:, 1], rtol=1e-5, atol=1e-7)
    one = abmil(1).explain(x, ["leave_one_out", "single"], ["benign", "tumour"][1:], settings={"output": "probability"})
    assert one.scores["single"].names == ("tumour",)
    assert ((values(one, "single") > 0) & (values(one, "single") < 1)).all()


def test_survival_has_one_risk_and_regression_its_values() -> None:
    x, model = random_features(9, WIDTH), abmil(3)
    risk = model.explain(x, "single", settings={"task": "survival"}).scores["single"]
    z = model.explain(x, "single", settings={"task": "survival", "output": "logit"}).scores["single"]
    assert (risk.names, z.names) == (("risk",), ("interval 0", "interval 1", "interval 2"))
    survival = np.cumprod(1 / (1 + np.exp(z.values.astype(np.float64))), axis=1)
    np.testing.assert_allclose(risk.values[:, 0], -survival.sum(axis=1), rtol=1e-5)
    value = model.explain(x, "single", settings={"task": "regression"}).scores["single"]
    assert value.names == ("output 0", "output 1", "output 2")
    np.testing.assert_array_equal(value.values, z.values)


def test_labels_are_explained_each_by_itself() -> None:
    x, model, names = random_features(30, WIDTH), abmil(3), ["a", "b", "c"]
    task = {"task": "multilabel"}
    odds = model.explain(x, ["single", "leave_one_out"], names, settings=task)
    z = model.explain(x, ["single", "leave_one_out"], names, settings=task | {"output": "logit"})
    for name in odds.scores:
        np.testing.assert_array_equal(values(odds, name), values(z, name))
    chance = model.explain(x, "single", names, settings=task | {"output": "probability"})
    np.testing.assert_allclose(values(chance, "single"), 1 / (1 + np.exp(-values(z, "single"))), rtol=1e-5)
    assert model.explain(x, "single", settings=task).scores["single"].names == ("output 0", "output 1", "output 2")


@pytest.mark.parametrize(
    ("settings", "names", "text"),
    [
        ({"stepz": 3}, "single", "unknown setting 'stepz'.*did you mean 'steps'"),
        ({"task": "ranking"}, "single", "unknown task 'ranking'; choose from"),
        ({"output": "risk"}, "single", "output 'risk' cannot be explained of a classification model; choose from"),
        ({"steps": 0}, "single", "steps must be a whole number of at least 1, got 0"),
        ({"steps": 64, "max_steps": 32}, "single", "max_steps 32 is below steps 64"),
        ({"masks": 7}, "mask_regression", "masks must be even"),
        ({"masks": 40}, "mask_regression", "at least twice the 24 groups, got 40; choose 48 or more"),
        ({"window": 5, "stride": 2}, "occlusion", "window 5 is no multiple of stride 2; choose a stride of 1, 5"),
        ({"baseline": "white"}, "integrated_gradients", "baseline must be zero, mean, or D numbers"),
        ({"baseline": [1.0, 2.0]}, "integrated_gradients", "the features are 12 wide: it must hold 12 numbers"),
        ({"baseline": "nowhere.npy"}, "integrated_gradients", "nowhere.npy: does not exist"),
        ({}, "occlusion", "occlusion needs coordinates"),
        ({}, "leave_two_out", "has no score 'leave_two_out'; choose from"),
    ],
)
def test_what_cannot_be_is_refused_with_what_would_do(settings: Any, names: str, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        abmil().explain(random_features(24, WIDTH), names, settings=settings)


@pytest.mark.parametrize("target", ["d", 3, -1, True, 1.0, None, [], ["a", "d"]])
def test_a_target_the_model_lacks_is_refused_with_those_it_has(target: Any) -> None:
    with pytest.raises(ModelError, match=r"choose from \['all', 'predicted', 'a', 'b', 'c'\]"):
        abmil().explain(random_features(5, WIDTH), "single", ["a", "b", "c"], targets=target)


def test_coordinates_of_bare_features() -> None:
    x, model = random_features(24, WIDTH), abmil()
    grid = PatchGrid(LATTICE, (256, 256), (256, 256))
    with_grid = model.explain(PatchFeatures(grid, x, None, Path("x.h5")), "occlusion")
    bare = model.explain(x, "occlusion", coords_l0=LATTICE + 77, step_l0=256)
    seen = model.explain(x, "occlusion", coords_l0=LATTICE)
    np.testing.assert_array_equal(values(bare, "occlusion"), values(with_grid, "occlusion"))
    np.testing.assert_array_equal(values(seen, "occlusion"), values(with_grid, "occlusion"))
    with pytest.raises(FeatureError, match=r"coords_l0 must have shape \(24, 2\)"):
        model.explain(x, "occlusion", coords_l0=LATTICE[1:], step_l0=256)


def test_windows_of_one_cell_are_leave_one_out() -> None:
    found = abmil().explain(
        random_features(24, WIDTH), ["occlusion", "leave_one_out"],
        settings={"window": 1, "stride": 1}, coords_l0=LATTICE, step_l0=256,
    )  # fmt: skip
    np.testing.assert_allclose(values(found, "occlusion"), values(found, "leave_one_out"), rtol=1e-6)


def test_a_window_that_holds_the_whole_bag_is_skipped() -> None:
    x, model = random_features(3, WIDTH), abmil()
    coords = np.array([[0, 0], [256, 0], [512, 0]])
    found = model.explain(x, "occlusion", settings={"window": 8, "stride": 8}, coords_l0=coords, step_l0=256)
    assert np.isnan(values(found, "occlusion")).all()
    assert found.checks["occlusion"] == {"windows": 1, "window": 8, "stride": 8}


@pytest.mark.parametrize("make", [abmil, pytest.param(transformer, marks=pytest.mark.slow)])
def test_a_bag_of_one_patch(make: Any) -> None:
    x = random_features(1, WIDTH)
    found = make().explain(x, list(EXPLANATIONS), coords_l0=np.zeros((1, 2), int), step_l0=256)
    for name in ("leave_one_out", "occlusion", "mask_regression"):
        assert np.isnan(values(found, name)).all()
    for name in ("single", "gradient_x_input", "integrated_gradients"):
        assert np.isfinite(values(found, name)).all()
    outputs = found.outputs
    np.testing.assert_allclose(values(found, "single")[0], found.full, rtol=1e-5)
    assert len(outputs) == len(found.full)


def test_integrated_gradients_double_their_steps_until_they_add_up() -> None:
    x, model = 4 * random_features(30, WIDTH), abmil().double()
    found = model.explain(x, "integrated_gradients", settings={"steps": 1, "max_steps": 300})
    checks = found.checks["integrated_gradients"]
    assert checks["steps"] in {2**k for k in range(1, 9)} | {300}
    assert all(checks["complete"])
    assert max(checks["residual"]) <= 0.01
    np.testing.assert_allclose(values(found, "integrated_gradients").sum(axis=0), checks["difference"], rtol=0.02)
    fixed = model.explain(x, "integrated_gradients", settings={"steps": 1, "max_steps": 1})
    assert not all(fixed.checks["integrated_gradients"]["complete"])


def test_a_baseline_of_ones_own(tmp_path: Path) -> None:
    x, model = random_features(9, WIDTH), abmil().double()
    np.save(tmp_path / "grey.npy", x.astype(np.float64).mean(axis=0))
    own = model.explain(x, "integrated_gradients", settings={"baseline": tmp_path / "grey.npy"})
    mean = model.explain(x, "integrated_gradients", settings={"baseline": "mean"})
    np.testing.assert_allclose(values(own, "integrated_gradients"), values(mean, "integrated_gradients"), rtol=1e-6)


def test_more_forwards_than_allowed_are_refused_with_the_number_and_the_time() -> None:
    x, model = random_features(24, WIDTH), transformer()
    with pytest.raises(ModelError, match=r"leave_one_out needs 24 forward passes .* max_forwards 10: about "):
        model.explain(x, "leave_one_out", settings={"max_forwards": 10})
    with pytest.raises(ModelError, match=r"mask_regression needs 512 forward passes.*at most 10 masks"):
        model.explain(x, "mask_regression", settings={"max_forwards": 10})
    found = model.explain(
        x, ["single", "occlusion"], settings={"max_forwards": 10}, coords_l0=LATTICE, step_l0=256
    )  # single always runs; the windows grow until they fit
    assert found.checks["occlusion"] == {"windows": 6, "window": 8, "stride": 4}
    abmil().explain(x, ["leave_one_out", "mask_regression"], settings={"max_forwards": 1})


def test_gradients_that_do_not_fit_the_memory_are_refused_with_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "_MEASURED", (4, 8, 16))
    monkeypatch.setattr(memory, "available_bytes", lambda device: 2**30)
    monkeypatch.setattr(explaining, "saved_bytes", lambda forward, x: len(x) * 2**26)  # 64 MiB a patch
    with pytest.raises(ModelError, match=r"a gradient of transformer on 24 patches needs about 2\.[23] GiB"):
        transformer().explain(random_features(24, WIDTH), "gradient_x_input")
    abmil().explain(random_features(24, WIDTH), "gradient_x_input")  # streamed: no more than a prediction


def test_the_memory_of_a_pass_back_is_foretold() -> None:
    assert by_forwards.grown((1, 2, 3), (10, 20, 30), 100) == 1000
    assert by_forwards.grown((1, 2, 3), (1, 4, 9), 100) == 10_000
    model, x = transformer().double(), torch.from_numpy(random_features(400, WIDTH)).double()
    used = [by_forwards.saved_bytes(model.differentiable_logits, x[:n]) for n in (50, 100, 200, 400)]
    assert by_forwards.grown((50, 100, 200), (used[0], used[1], used[2]), 400) == pytest.approx(used[3], rel=0.05)


def test_features_that_are_not_finite_are_named() -> None:
    x = random_features(12, WIDTH)
    x[3, 4] = np.nan
    with pytest.raises(ModelError, match="gave 3 NaN or infinite values of 3 in its logits"):
        abmil().explain(x, "leave_one_out")


class Stop(Exception):
    """What a watcher raises to end the work."""


@pytest.mark.parametrize("name", ["leave_one_out", "mask_regression", "integrated_gradients"])
def test_stopped_work_goes_on_to_the_same_bits(name: str) -> None:
    x, model = random_features(24, WIDTH), transformer()
    settings = {"masks": 64, "steps": 12, "max_steps": 12}
    kept: dict[str, Any] = {}
    told: list[int] = []

    def save(what: str, partial: Any) -> None:
        kept[what] = {key: np.array(value) for key, value in partial.items()}

    def tell(what: str, done: int, total: int) -> None:
        told.append(done)
        if done == 7:
            raise Stop

    with pytest.raises(Stop):
        model.explain(x, name, settings=settings, watch=Watch(tell, save, every_s=0))
    assert told == list(range(1, 8))
    assert {int(partial["done"]) for partial in kept.values()} == {7}
    told.clear()
    again = model.explain(
        x, name, settings=settings, watch=Watch(lambda what, done, total: told.append(done), load=kept.get)
    )
    assert told[0] == 8
    np.testing.assert_array_equal(values(again, name), values(model.explain(x, name, settings=settings), name))


def test_training_mode_is_left_as_it_was() -> None:
    model = abmil().train()
    x = random_features(24, WIDTH)
    one = values(model.explain(x, "leave_one_out"), "leave_one_out")
    assert model.training
    np.testing.assert_array_equal(one, values(model.eval().explain(x, "leave_one_out"), "leave_one_out"))


def test_only_single_and_scores_of_patches_alone_mean_the_same_in_any_bag() -> None:
    model = abmil()
    assert [name for name in model.score_names() if model.is_alone(name)] == ["attention", "single"]
