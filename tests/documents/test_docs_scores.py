"""docs/explanation/scores.md names every score of every model, with its kind."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from mil_heatmaps.checkpoints.builder import create_model
from mil_heatmaps.models.registry import MODULES, config_names
from mil_heatmaps.scores.patch_scores import ScoreKind

TEXT = (Path(__file__).parents[2] / "docs" / "explanation" / "scores.md").read_text(encoding="utf-8")
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in MODULES),
    ("wikg", {"pool": "mean"}),
    ("wikg", {"pool": "max"}),
    ("dftd", {"distill": "AFS"}),
]


def section(model_type: str) -> str:
    """Return the part of the document whose heading names a model."""
    for part in re.split(r"^## ", TEXT, flags=re.MULTILINE):
        heading = part.splitlines()[0]
        if model_type in re.split(r"[, ]+", re.sub(r"\(.*?\)", "", heading)):
            return part
    raise AssertionError(f"no heading names {model_type}")


@pytest.mark.parametrize(("model_type", "settings"), VARIANTS)
def test_every_score_is_documented_with_its_kind(model_type: str, settings: dict[str, Any]) -> None:
    config = (config_names(model_type) or ["base"])[0]
    model = create_model(f"{model_type}.{config}.32.none", **settings)
    text = section(model_type)
    for name, spec in model.score_specs().items():
        assert f"`{name}`" in text, name
        row = next(line for line in text.splitlines() if line.startswith("|") and f"`{name}`" in line)
        assert f"`{spec.kind}`" in row, name


def test_every_kind_is_explained() -> None:
    assert [kind for kind in get_args(ScoreKind) if f"| `{kind}` |" not in TEXT] == []
