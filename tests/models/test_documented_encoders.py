"""The wrappers of docs/how-to/slide_encoders.md run, as documented, on stand-ins of the published interfaces."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mil_heatmaps.checkpoints.own_slide_encoder import load_slide_encoder
from mil_heatmaps.features.patch_features import PatchFeatures
from mil_heatmaps.models.slide_encoder import SlideEncoderModel
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.weights.slide_head import SlideHead

DOCUMENT = Path(__file__).parents[2] / "docs" / "how-to" / "slide_encoders.md"
COUNT = 12


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    code = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    path = tmp_path_factory.mktemp("lab") / "encoders.py"
    path.write_text("\n".join(code))
    return path


def bag(width: int) -> PatchFeatures:
    cells = np.stack(np.divmod(np.arange(COUNT), 4)[::-1], 1).astype(np.int64)
    values = np.random.default_rng(width).normal(size=(COUNT, width)).astype(np.float32)
    return PatchFeatures(PatchGrid(cells * 448, (448, 448), (448, 448)), values, None, Path("s.h5"))


class Titan(nn.Module):
    def encode_slide_from_patch_features(self, features: Any, coords: Any, patch_size_lv0: int) -> Any:
        count = features.shape[1]  # of an occluded slide fewer
        assert (features.shape, coords.shape, patch_size_lv0) == ((1, count, 768), (1, count, 2), 448)
        assert coords.dtype == torch.int64
        return features.mean(1)[:, :8] + coords.float().mean() / patch_size_lv0


class Prism(nn.Module):
    def slide_representations(self, tile_embeddings: Any) -> dict[str, Any]:
        assert tile_embeddings.shape[0::2] == (1, 2560)
        return {"image_embedding": tile_embeddings.mean(1)[:, :8], "image_latents": tile_embeddings[:, :4]}


class GigaPath(nn.Module):
    def forward(self, x: Any, coords: Any, all_layer_embed: bool = False) -> list[Any]:
        assert all_layer_embed
        assert coords.is_floating_point()
        return [layer * x.mean(1)[:, :8] for layer in range(13)]


def of_hub(made: nn.Module, repo: str) -> dict[str, Any]:
    def load(name: str, *, trust_remote_code: bool) -> nn.Module:
        assert (name, trust_remote_code) == (repo, True)
        return made

    return {"transformers": SimpleNamespace(AutoModel=SimpleNamespace(from_pretrained=load))}


def of_gigapath() -> dict[str, Any]:
    def create(weights: str, name: str, width: int) -> nn.Module:
        assert (weights, name, width) == ("hf_hub:prov-gigapath/prov-gigapath", "gigapath_slide_enc12l768d", 1536)
        return GigaPath()

    encoder = ModuleType("gigapath.slide_encoder")
    encoder.create_model = create  # type: ignore[attr-defined]
    package = ModuleType("gigapath")
    package.slide_encoder = encoder  # type: ignore[attr-defined]
    return {"gigapath": package, "gigapath.slide_encoder": encoder}


@pytest.mark.parametrize(
    ("name", "width", "modules", "expected"),
    [
        ("titan", 768, of_hub(Titan(), "MahmoodLab/TITAN"), lambda x, at: x.mean(0)[:8] + at.mean() / 448),
        ("prism", 2560, of_hub(Prism(), "paige-ai/Prism"), lambda x, at: x.mean(0)[:8]),
        ("gigapath", 1536, of_gigapath(), lambda x, at: 11 * x.mean(0)[:8]),
    ],
)
def test_the_wrapper_of_a_published_encoder_gives_its_vector(
    lab: Path, name: str, width: int, modules: dict[str, Any], expected: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for module, stand_in in modules.items():
        monkeypatch.setitem(sys.modules, module, stand_in)
    features, head = bag(width), SlideHead(np.eye(2, 8), np.zeros(2))
    model = load_slide_encoder(f"{lab}:{name}", {}, head)
    found = model.explain(features, [])
    model.explain(features, ["occlusion"], settings={"window": 2, "task": "regression"})  # of parts of the slide
    vector = expected(features.features.astype(np.float64), features.grid.coords_l0.astype(np.float64))
    np.testing.assert_allclose(model.vector, vector, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.logits, vector[:2], rtol=1e-4, atol=1e-5)
    assert model.inner.in_dim == width


def test_attention_that_no_code_returns_is_caught_where_it_is_made(lab: Path) -> None:
    """As documented: a hook on the pooling of any encoder."""

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.Linear(6, 3)

        def embed(self, x: Any) -> Any:
            weights = torch.softmax(self.pool(x), dim=0)
            return weights.mean(1) @ x

    torch.manual_seed(0)
    found: dict[str, Any] = {}
    exec(compile(lab.read_text(), str(lab), "exec"), found)
    made = Pooled().eval()
    encoder = found["with_attention"](made, made.pool, lambda model, features: model.embed(features))
    model, features = SlideEncoderModel(encoder.eval(), SlideHead(np.eye(2, 6), np.zeros(2)), "lab:pooled"), bag(6)
    scores = model.patch_scores(features, "attention")
    with torch.no_grad():
        expected = torch.softmax(made.pool(torch.from_numpy(features.features)), dim=0)
    assert scores.names == ("head 0", "head 1", "head 2")
    np.testing.assert_allclose(scores.values, expected, atol=1e-6)
