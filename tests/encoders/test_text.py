"""Text encoders: prompts become concepts, by a user's own encoder here; those that are not there are refused."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.encoders.text import concepts_of_prompts, load_text_encoder
from mil_heatmaps.errors import HeatmapError, ModelError

CODE = """
import math
import numpy as np

class Own:
    encoder = "own_v1"
    logit_scale = math.log(20)

    def encode(self, texts):
        return np.array([[len(text), text.count("a"), 1.0] for text in texts])

def make():
    return Own()

def broken():
    class Bad(Own):
        def encode(self, texts):
            return np.ones(3)
    return Bad()

def nothing():
    return 3
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    (tmp_path / "own_text.py").write_text(CODE)
    return f"{tmp_path / 'own_text.py'}"


def test_prompts_in_templates_are_normalised_averaged_and_normalised_again(own: str) -> None:
    concepts = concepts_of_prompts({"x": ["aa", "b"], "y": ["c"]}, f"{own}:make", ["{}", "a {}"])
    rows = np.array([[2, 2, 1], [4, 3, 1], [1, 0, 1], [3, 1, 1]], float)
    mean = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(concepts.vectors[0], mean / np.linalg.norm(mean), atol=1e-6)
    assert (concepts.names, concepts.encoders) == (("x", "y"), ("own_v1",))
    assert concepts.temperature == pytest.approx(1 / 20)
    assert concepts_of_prompts({"x": ["a"]}, f"{own}:make", temperature=0.3).temperature == 0.3


def test_what_is_no_text_encoder_is_refused(own: str) -> None:
    for name, words in (
        (f"{own}:broken", r"an array of shape \(3,\) for 1 prompts"),
        (f"{own}:nothing", "has no method encode"),
        (f"{own}:missing", "has no factory 'missing'; it has"),
        ("clip", "unknown text encoder 'clip'; choose plip, conch"),
    ):
        with pytest.raises(ModelError, match=words):
            concepts_of_prompts({"x": ["a"]}, name)


@pytest.mark.parametrize("name", ["plip", "conch"])
def test_a_known_encoder_that_is_not_there_says_what_would_bring_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HeatmapError, match=r"pip install|hf download"):
        load_text_encoder(name)


def letters(texts: list[str]) -> torch.Tensor:
    """Return numbers that tell texts apart, as a text encoder would."""
    return torch.tensor([[len(text), text.count("a"), text.count("e")] for text in texts], dtype=torch.float32)


class Loaded(torch.nn.Module):
    """PLIP's and CONCH's models as far as prompts ask them; `logit_scale` is CLIP's logarithm."""

    def __init__(self, wrapped: bool = False) -> None:
        super().__init__()
        self.logit_scale = torch.nn.Parameter(torch.tensor(math.log(56.3477)))
        self.wrapped = wrapped

    def get_text_features(self, texts: list[str], **_: Any) -> Any:
        made = letters(texts)
        return SimpleNamespace(pooler_output=made) if self.wrapped else made

    def encode_text(self, tokens: Any) -> Any:
        return torch.nn.functional.normalize(letters(tokens), dim=-1)


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, wrapped: bool) -> list[Any]:
    """Put modules with the published interface in the place of those that are not here; return what was asked."""
    asked: list[Any] = []

    def plip(repo: str, *, local_files_only: bool) -> Loaded:
        asked.append((repo, local_files_only))
        return Loaded(wrapped)

    def tokenizer(texts: list[str], *, return_tensors: str, padding: bool, truncation: bool) -> dict[str, Any]:
        assert (return_tensors, padding, truncation) == ("pt", True, True)
        return {"texts": texts}

    def download(repo: str, file: str, *, local_files_only: bool) -> str:
        asked.append((repo, local_files_only))
        return f"/cache/{file}"

    def conch(config: str, path: str) -> tuple[Loaded, None]:
        assert (config, path) == ("conch_ViT-B-16", "/cache/pytorch_model.bin")
        return Loaded(), None

    modules: dict[str, Any] = {
        "transformers": SimpleNamespace(
            CLIPModel=SimpleNamespace(from_pretrained=plip),
            CLIPTokenizerFast=SimpleNamespace(from_pretrained=lambda repo, **_: tokenizer),
        ),
        "huggingface_hub": SimpleNamespace(hf_hub_download=download),
        "conch": ModuleType("conch"),
        "conch.open_clip_custom": SimpleNamespace(
            create_model_from_pretrained=conch, get_tokenizer=lambda: "tokenizer",
            tokenize=lambda *, texts, tokenizer: texts if tokenizer == "tokenizer" else [],
        ),
    }  # fmt: skip
    for module in ("transformers",) if name == "plip" else ("huggingface_hub", "conch", "conch.open_clip_custom"):
        monkeypatch.setitem(sys.modules, module, modules[module])
    return asked


@pytest.mark.parametrize(
    ("name", "space", "repo", "wrapped"),
    [("plip", "plip", "vinid/plip", False), ("plip", "plip", "vinid/plip", True),
     ("conch", "conch_v1_proj", "MahmoodLab/conch", False)],
)  # fmt: skip
def test_prompts_of_a_known_encoder_are_its_own_vectors_with_its_temperature(
    name: str, space: str, repo: str, wrapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = stand_in(monkeypatch, name, wrapped)
    concepts = concepts_of_prompts({"tumour": ["cancer", "tumour"], "stroma": ["fibre"]}, name, ["{}", "a {} here"])
    assert asked == [(repo, True)]  # from the cache alone, nothing is downloaded
    assert concepts.encoders == (space,)
    assert concepts.temperature == pytest.approx(1 / 56.3477)
    rows = letters(["cancer", "a cancer here", "tumour", "a tumour here"]).double().numpy()
    mean = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(concepts.vectors[0], mean / np.linalg.norm(mean), atol=1e-6)
