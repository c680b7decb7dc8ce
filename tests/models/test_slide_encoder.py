"""Slide encoders with a head: the documented example has the map of its closed form; every misuse has its sentence."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mil_heatmaps.checkpoints.own_slide_encoder import load_slide_encoder
from mil_heatmaps.errors import FeatureError, ModelError
from mil_heatmaps.explain.lattice import Lattice
from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.features.read import read_features
from mil_heatmaps.models.inference import infer
from mil_heatmaps.models.slide_encoder import SlideEncoderModel
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.weights.slide_head import SlideHead, read_head, read_slide_vectors
from tests.helpers.places import CURE, SHARED

DOCUMENT = Path(__file__).parents[2] / "docs" / "how-to" / "slide_encoders.md"


def bag(columns: int = 9, rows: int = 7, width: int = 16) -> PatchFeatures:
    """A slide with a hole, so that windows hold different numbers of patches."""
    cells = [(x, y) for y in range(rows) for x in range(columns) if not (2 <= x <= 3 and y == 4)]
    grid = PatchGrid(np.array(cells, np.int64) * 512 + 100, (512, 512), (512, 512))
    values = np.random.default_rng(5).normal(size=(len(cells), width)).astype(np.float32)
    return PatchFeatures(grid, values, None, Path("s.h5"))


def head(outputs: int = 1, width: int = 8) -> SlideHead:
    draw = np.random.default_rng(1)
    return SlideHead(draw.normal(size=(outputs, width)), draw.normal(size=outputs))


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> str:
    code = next(c for c in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL) if "Positioned" in c)
    path = tmp_path_factory.mktemp("lab") / "encoder.py"
    path.write_text(code)
    return f"{path}:Positioned"


def test_the_documented_example_has_the_occlusion_map_of_its_closed_form(documented: str) -> None:
    features, linear = bag(), head()
    model = load_slide_encoder(documented, {"seed": 3}, linear)
    settings = {"task": "regression", "window": 4, "stride": 2}
    found = model.explain(features, ["occlusion", "mask_regression"], settings=settings)
    coords = torch.from_numpy(features.grid.coords_l0)
    u = model.inner.encoder.per_patch(torch.from_numpy(features.features), coords, 512).detach().double().numpy()
    c, n = u @ linear.weight[0], len(features)
    windows = Lattice.of(features.grid.coords_l0, (512, 512)).windows(4, 2)
    worth = [len(w) / (n - len(w)) * (c[w].mean() - c.mean()) for w in (windows[i] for i in range(len(windows)))]
    holds = np.array([np.isin(np.arange(n), windows[i]) for i in range(len(windows))])
    expected = (holds * np.array(worth)[:, None]).sum(axis=0) / holds.sum(axis=0)
    np.testing.assert_allclose(found.scores["occlusion"].values[:, 0], expected, atol=2e-6)
    assert found.logits is not None
    np.testing.assert_allclose(found.logits, c.mean() + linear.bias, rtol=1e-5)
    assert found.checks["mask_regression"]["r2"][0] > 0.9


def test_occlusion_is_what_is_drawn_and_single_says_what_it_asks(documented: str) -> None:
    model = load_slide_encoder(documented, {}, head(2))
    assert model.default_score == "occlusion"
    prediction, scores = infer(model, bag(), class_names=["low", "high"])
    assert list(scores) == ["occlusion"]
    assert prediction is not None
    assert prediction.classes == ("low", "high")
    (said,) = model.remarks(["occlusion", "single"])
    assert "slides of one patch" in said
    assert model.remarks(["occlusion"]) == []


def test_gradients_and_faithfulness_are_those_of_any_model(documented: str) -> None:
    model, features = load_slide_encoder(documented, {}, head(2)), bag()
    found = model.explain(features, ["integrated_gradients"], targets=1)
    assert found.checks["integrated_gradients"]["complete"] == [True]
    measured = model.faithfulness(features, ["occlusion"], settings={"steps": 5, "random_orders": 2}).as_dict()
    assert measured["maps"]["occlusion"]["status"] == "measured"


def test_an_encoder_gets_what_it_names_and_no_more() -> None:
    seen: dict[str, Any] = {}

    def encoder(features: Any, patch_size_level0: int, mpp: float) -> Any:
        seen.update(n=len(features), size=patch_size_level0, mpp=mpp)
        return features.mean(0)

    model = SlideEncoderModel(encoder, head(1, 16), "lab:encoder")
    with model.on_slide(mpp=0.25):
        model.explain(bag(), [])
    assert seen == {"n": len(bag()), "size": 512, "mpp": 0.25}
    with pytest.raises(ModelError, match=r"lab:encoder needs mpp, .* which the slide does not say: give data_arg"):
        model.explain(bag(), [])
    bare = SlideEncoderModel(lambda x, mpp=None: x.mean(0), head(1, 16), "lab:bare")
    assert bare.explain(bag().features, []).logits is not None  # neither corners nor resolution are needed


def test_vectors_of_several_rows_are_seen_row_after_row() -> None:
    linear = head(1, 32)
    model = SlideEncoderModel(lambda x: torch.stack([x.mean(0), x.amax(0)]), linear, "lab:two")
    x = bag().features.astype(np.float64)
    found = model.explain(bag(), []).logits
    assert found is not None
    expected = linear.weight[0] @ np.concatenate([x.mean(0), x.max(0)]) + linear.bias[0]
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    np.testing.assert_allclose(model.vector, np.concatenate([x.mean(0), x.max(0)]), rtol=1e-5)


@pytest.mark.skipif(not (SHARED / "golden" / "trident").is_dir(), reason=f"no golden data ({CURE})")
@pytest.mark.parametrize("slide", ["synth_20x", "synth_40x"])
def test_the_vector_is_the_one_trident_stored(slide: str) -> None:
    job = SHARED / "golden" / "trident" / "job_dir" / "20x_256px_0px_overlap"
    stored = read_slide_vectors(job / "slide_features_mean-uni_v2" / f"{slide}.h5")
    features = read_features(job / "features_uni_v2" / f"{slide}.h5")
    model = SlideEncoderModel(lambda x: x.mean(0), head(1, stored.shape[1]), "trident:mean-uni_v2")
    model.explain(features, [])
    assert model.vector is not None
    assert np.linalg.norm(model.vector - stored[0]) < 1e-6 * np.linalg.norm(stored)


def test_attention_that_is_returned_is_drawn_as_attention() -> None:
    def encoder(features: torch.Tensor) -> Any:
        weights = torch.softmax(features[:, :2], dim=0)
        return {"vector": weights.mean(1) @ features, "attention": weights}

    model = SlideEncoderModel(encoder, head(2, 16), "lab:pool")
    found = model.patch_scores(bag(), "attention")
    assert found.kind == "attention_softmax"
    assert found.names == ("head 0", "head 1")
    np.testing.assert_allclose(found.values.sum(axis=0), 1, rtol=1e-5)
    wild = SlideEncoderModel(lambda x: (x.mean(0), x[:, 0]), head(1, 16), "lab:wild")
    with pytest.raises(ModelError, match=r"is no share of 1 .* score_kind, such as 'attention_logit'"):
        wild.patch_scores(bag(), "attention")
    with pytest.raises(ModelError, match="returned no patch scores"):
        SlideEncoderModel(lambda x: x.mean(0), head(1, 16), "lab:none").patch_scores(bag(), "attention")


def test_a_cosine_is_that_of_the_vector_and_the_text(tmp_path: Path) -> None:
    texts = np.random.default_rng(2).normal(size=(2, 16)).astype(np.float32)
    np.savez(tmp_path / "texts.npz", vectors=texts, names=["tumour", "normal"])
    cosine = read_head(tmp_path / "texts.npz", cosine=True)
    assert cosine.names == ("tumour", "normal")
    model = SlideEncoderModel(lambda x: x.sum(0), cosine, "lab:sum")
    found, x = model.explain(bag(), []).logits, bag().features.sum(0)
    expected = texts @ x / np.linalg.norm(texts, axis=1) / np.linalg.norm(x)
    assert found is not None
    np.testing.assert_allclose(found, expected, rtol=1e-5)


class Restless(nn.Module):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(features, 0.5).mean(0)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (lambda x: x.mean(0)[:5], r"returned a vector of shape \(5,\), 5 numbers, but the head takes 16"),
        (lambda x: "vector", "returned a str: it must return a vector"),
        (lambda x: x[None, None], "returned a Tensor of shape .* must return a vector"),
        (Restless(), "two forward passes of lab:odd on the same patches differ"),
        (lambda x: x.mean(0) / 0, "NaN or infinite"),
        (lambda x: 1 / 0, "lab:odd failed on features of shape .* ZeroDivisionError"),
        (7, "lab:odd returned a int, which cannot be called"),
    ],
)
def test_what_is_wrong_with_an_encoder_is_one_sentence(encoder: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        SlideEncoderModel(encoder, head(1, 16), "lab:odd").explain(bag(), ["occlusion"])


def test_an_encoder_that_changes_between_calls_is_refused_without_any_explanation_too() -> None:
    model = SlideEncoderModel(Restless(), head(1, 16), "lab:odd")
    with pytest.raises(ModelError, match="two forward passes of lab:odd on the same patches differ"):
        model.explain(bag(), [])


def test_a_bag_of_another_width_is_refused_before_the_encoder_runs(documented: str) -> None:
    model = load_slide_encoder(documented, {}, head())
    with pytest.raises(FeatureError, match=r"features are 5 wide, the model .* expects 16"):
        model.explain(bag(width=5), [])


def test_a_factory_is_found_or_said_to_be_missing(documented: str) -> None:
    where = documented.rpartition(":")[0]
    with pytest.raises(ModelError, match="has no factory 'Other'; it has Positioned"):
        load_slide_encoder(f"{where}:Other", {}, head())
    with pytest.raises(ModelError, match=r"slide_encoder 'Positioned' must read package.module:factory"):
        load_slide_encoder("Positioned", {}, head())
    with pytest.raises(ModelError, match="its arguments are init_args"):
        load_slide_encoder(documented, {"depth": 2}, head())
