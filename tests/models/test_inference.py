"""Prediction and scores from one pass, for classification, regression and survival."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.errors import FeatureError, ModelError
from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.models.abmil import ABMIL
from mil_heatmaps.models.inference import infer, predict
from mil_heatmaps.scores.patch_scores import PatchScores
from mil_heatmaps.scores.select import select_columns
from mil_heatmaps.slides.patch_grid import PatchGrid


@pytest.fixture
def model() -> ABMIL:
    torch.manual_seed(0)
    return ABMIL(in_dim=12, embed_dim=8, attn_dim=6, num_classes=3).eval()


def bag(count: int = 7, dtype: Any = np.float16) -> PatchFeatures:
    coords = np.stack([np.arange(count) * 256, np.zeros(count)], axis=1).astype(np.int64)
    features = np.random.default_rng(0).normal(size=(count, 12)).astype(dtype)
    return PatchFeatures(PatchGrid(coords, (256, 256), (256, 256)), features, "uni", Path("slide.h5"))


def test_prediction_and_scores_come_with_their_names_and_grid(model: ABMIL) -> None:
    features = bag()
    prediction, scores = infer(
        model, features, scores=["class_contribution", "attention"], class_names=["benign", "low", "high"]
    )
    assert prediction is not None
    assert list(scores) == ["class_contribution", "attention"]
    assert scores["attention"].grid is features.grid
    assert scores["class_contribution"].names == prediction.classes == ("benign", "low", "high")
    results, _ = model(torch.from_numpy(features.features.astype(np.float32)))
    np.testing.assert_allclose(prediction.logits, results["logits"][0].detach(), atol=1e-6)
    np.testing.assert_allclose(prediction.probabilities, torch.softmax(results["logits"], 1)[0].detach(), atol=1e-6)
    assert prediction.summary.startswith(prediction.classes[int(prediction.logits.argmax())])


def test_one_forward_serves_prediction_and_all_scores(model: ABMIL, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    model.model.patch_embed.register_forward_hook(lambda *args: rows.append(len(args[1][0])))
    infer(model, bag(50), scores=list(model.score_specs()))
    assert sum(rows) == 50


def test_a_large_bag_is_passed_in_chunks(model: ABMIL) -> None:
    rows: list[int] = []
    model.model.patch_embed.register_forward_hook(lambda *args: rows.append(len(args[1][0])))
    infer(model, np.zeros((10_000, 12), np.float16))
    assert rows == [4096, 4096, 1808]


def test_memory_mapped_features_are_read_in_chunks(model: ABMIL, tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", np.asarray(bag(20).features))
    mapped = np.load(tmp_path / "f.npy", mmap_mode="r")
    expected, _ = infer(model, bag(20))
    found, _ = infer(model, mapped)
    assert expected is not None
    assert found is not None
    np.testing.assert_array_equal(found.logits, expected.logits)


def test_survival_is_hazards_survival_and_risk() -> None:
    prediction = predict(np.array([0, 0, np.log(3)], np.float32), task="survival")
    np.testing.assert_allclose(prediction.hazards, [0.5, 0.5, 0.75], atol=1e-6)
    np.testing.assert_allclose(prediction.probabilities, [0.5, 0.25, 0.0625], atol=1e-6)
    assert prediction.risk == pytest.approx(-0.8125)
    assert prediction.classes == ("interval 0", "interval 1", "interval 2")
    assert prediction.summary.startswith("risk \N{MINUS SIGN}0.812")


def test_regression_gives_the_outputs_as_they_are() -> None:
    prediction = predict(np.array([2.5], np.float32), ["Ki-67"], "regression")
    np.testing.assert_array_equal(prediction.probabilities, [2.5])
    assert prediction.summary == "Ki-67 2.5"


def test_a_single_logit_is_the_positive_class(model: ABMIL) -> None:
    prediction = predict(np.array([np.log(3)], np.float32), ["wild type", "mutated"])
    np.testing.assert_allclose(prediction.probabilities, [0.25, 0.75], atol=1e-6)
    assert prediction.summary == "mutated (p 0.750)"
    one = ABMIL(in_dim=12, embed_dim=8, attn_dim=6, num_classes=1).eval()
    found, scores = infer(one, bag(), scores="class_contribution", class_names=["wild type", "mutated"])
    assert found is not None
    assert len(found.classes) == 2
    assert scores["class_contribution"].names == ("mutated",)


def test_extreme_logits_do_not_overflow() -> None:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        np.testing.assert_allclose(predict(np.array([1e4, -1e4], np.float32)).probabilities, [1, 0])
        np.testing.assert_allclose(predict(np.array([300, -300], np.float32), task="survival").probabilities, [0, 0])


def test_wrong_names_tasks_and_widths_are_refused(model: ABMIL) -> None:
    with pytest.raises(ModelError, match=r"2 class names \(a, b\) for a model of 3 classes"):
        infer(model, bag(), class_names=["a", "b"])
    with pytest.raises(ModelError, match="unknown task 'ranking'"):
        infer(model, bag(), task="ranking")  # type: ignore[arg-type]
    with pytest.raises(FeatureError, match="features are 1536 wide"):
        infer(model, np.zeros((3, 1536), np.float32))
    with pytest.raises(FeatureError, match=r"shape \(N, D\)"):
        infer(model, np.zeros((2, 3, 12), np.float32))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same_numbers(model: ABMIL) -> None:
    expected, on_cpu = infer(model, bag(9000))
    found, on_gpu = infer(model.to("cuda"), bag(9000))
    assert expected is not None
    assert found is not None
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-4)
    np.testing.assert_allclose(on_gpu["attention"].values, on_cpu["attention"].values, atol=1e-4)


def test_a_probability_that_is_nearly_one_is_not_told_as_certain() -> None:
    sure = predict(np.array([9.0, 0.0, 1.0], np.float32), ["a", "b", "c"])
    assert sure.headline == ("predicted", "a > 99.9%")
    assert sure.details == ["c < 0.1%", "b < 0.1%"]
    unsure = predict(np.array([1.0, 0.0], np.float32), ["a", "b"])
    assert (unsure.headline[1], unsure.details) == ("a 73.1%", ["b 26.9%"])


def test_labels_that_do_not_exclude_each_other_have_chances_of_their_own() -> None:
    prediction = predict(np.array([2, 2, -1], np.float32), ["a", "b", "c"], "multilabel")
    np.testing.assert_allclose(prediction.probabilities, [0.880797, 0.880797, 0.268941], atol=1e-6)
    assert list(prediction.numbers) == ["a", "b", "c"]
    assert prediction.headline == ("predicted", "a 88.1%, b 88.1%")
    assert prediction.details == ["c 26.9%"]
    none = predict(np.array([-2, -1], np.float32), None, "multilabel")
    assert none.headline == ("predicted", "none of 2, highest output 1 26.9%")
    assert (none.likely, none.details) == ([1], ["output 0 11.9%"])
    assert predict(np.array([-1], np.float32), ["tumour"], "multilabel").headline == ("predicted", "not tumour (26.9%)")


def test_predicted_draws_every_label_of_at_least_a_half_else_the_highest() -> None:
    scores = PatchScores(None, np.zeros((3, 3), np.float32), ("a", "b", "c"), "class_contribution", "x")
    both = predict(np.array([2, 0, -1], np.float32), ["a", "b", "c"], "multilabel")
    assert [column.name for column in select_columns(scores, both)] == ["a", "b"]
    none = predict(np.array([-2, -3, -1], np.float32), ["a", "b", "c"], "multilabel")
    assert [column.name for column in select_columns(scores, none)] == ["c"]
