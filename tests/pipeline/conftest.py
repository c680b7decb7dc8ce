"""What is drawn with matplotlib is left out where the words alone are tested."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mil_heatmaps.visualization import cohort_figure, curves_figure, figure
from mil_heatmaps.visualization.picture_files import save_picture

BLANK = np.full((8, 8, 3), 255, np.uint8)


@pytest.fixture
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves and cohorts are drawn in tests/visualization/test_curves.py."""
    for place in (curves_figure.curves_page, cohort_figure.cohort_page):
        monkeypatch.setattr(place.__module__ + "." + place.__name__, lambda *_: BlankPage())


class BlankPage:
    """Stands in for a page of matplotlib, which takes its time."""

    def rendered(self) -> np.typing.NDArray[np.uint8]:
        return BLANK


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[figure.FigureText]:
    """The words of every figure that is written."""
    seen: list[figure.FigureText] = []

    def write(path: Path, drawing: object, scores: object, text: figure.FigureText, **_: object) -> None:
        seen.append(text)
        save_picture(path, BLANK)

    monkeypatch.setattr(figure, "write_figure", write)
    return seen
