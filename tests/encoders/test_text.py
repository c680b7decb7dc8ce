"""Text encoders: prompts become concepts, by a user's own encoder here; those that are not there are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

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
        (f"{own}:missing", "has no 'missing' to call; it has"),
        ("clip", "unknown text encoder 'clip'; choose plip, conch"),
    ):
        with pytest.raises(ModelError, match=words):
            concepts_of_prompts({"x": ["a"]}, name)


@pytest.mark.parametrize("name", ["plip", "conch"])
def test_a_known_encoder_that_is_not_there_says_what_would_bring_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HeatmapError, match=r"pip install|hf download"):
        load_text_encoder(name)
