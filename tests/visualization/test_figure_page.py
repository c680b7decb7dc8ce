"""A page shows the names of maps, classes and models as they are, also those that matplotlib takes for formulas."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mil_heatmaps.insight import agreement_sheet
from mil_heatmaps.insight.agreement_sheet import write_agreement_sheet
from mil_heatmaps.insight.dot_sheet import DotPanel, write_dot_sheet
from mil_heatmaps.visualization.figure_page import Page
from mil_heatmaps.visualization.svg_page import page_svg

NAME = "$\\bad{b$"


@pytest.fixture
def page() -> Page:
    page = Page(4, 3)
    axes = page.axes(1, 1, 2, 1)
    axes.plot([0, 1], [0, 1], label=NAME)
    axes.set_title(NAME)
    axes.set_xlabel(NAME)
    axes.set_yticks([0, 1], [NAME, f"{NAME} 2"])
    axes.text(0.5, 0.5, NAME)
    axes.legend()
    page.write(0.1, 0.1, NAME)
    return page


def test_no_name_on_a_page_is_a_formula(page: Page, tmp_path: Path) -> None:
    assert page.rendered().std() > 1
    assert page_svg(page.figure, salt="a").count(NAME) == 7
    for suffix in (".png", ".svg", ".pdf"):
        page.save(tmp_path / f"a{suffix}")
    with io.BytesIO() as out:  # as the overview's pages are written
        page.figure.savefig(out, format="pdf")
        assert out.getvalue().startswith(b"%PDF")


def test_sheets_are_drawn_whatever_models_and_genes_are_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = DotPanel(NAME, {NAME: (np.array([0.2, 0.4]), None), "b": (np.array([0.1]), None)})
    write_dot_sheet(tmp_path / "dots.png", NAME, NAME, [panel], [NAME])
    square = {"spearman": np.eye(2), "jaccard": np.eye(2)}
    monkeypatch.setattr(agreement_sheet, "matrices", lambda cohort, names: square)
    write_agreement_sheet(tmp_path / "a.png", pd.DataFrame(), [NAME, "b"], slides=3, top=0.1, patients=None)
    for name in ("dots.png", "a.png"):
        with Image.open(tmp_path / name) as picture:
            assert np.asarray(picture).std() > 1
