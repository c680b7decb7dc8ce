"""Figures for print: exact width, vectors, letters that can be read, what the file says of itself."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.scores.patch_scores import Prediction
from mil_heatmaps.visualization.drawing import Drawing
from mil_heatmaps.visualization.figure import FigureText, compose_figure, write_figure
from mil_heatmaps.visualization.figure_page import text_width, wrapped
from mil_heatmaps.visualization.figure_style import PRESETS, FigureStyle
from mil_heatmaps.visualization.pdf_pictures import with_jpeg_pictures
from mil_heatmaps.visualization.wsi_object import WholeSlideImage
from tests.helpers.drawings import planned

COORDS = np.stack(np.meshgrid(np.arange(256, 1600, 128), np.arange(256, 1000, 128)), axis=-1).reshape(-1, 2)
SCORES = np.linspace(-1, 2, len(COORDS))
PREDICTION = Prediction(("LUAD", "LSCC"), np.array([0.9, 0.1], np.float32), np.array([1.1, -1.1], np.float32))
TEXT = FigureText(
    "attention", "LUAD", "case_7" + "-long" * 30, "LSCC", "clam_mb", PREDICTION, kind="attention_logit",
    checkpoint="0123456789abcdef", run="R", date="1 May 2026", version="mil-heatmaps 1",
    facts={"Software": "mil-heatmaps 1", "Checkpoint SHA-256": "0123456789abcdef", "Config SHA-256": "fedc"},
)  # fmt: skip


def _drawing(path: Path, **options: Any) -> Drawing:
    return planned(SCORES, COORDS, WholeSlideImage(path), patch_size=128, segment=False, **options)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_no_letter_of_a_preset_is_under_six_points_nor_leaves_the_page(tiny_slide: Path, name: str) -> None:
    page = compose_figure(_drawing(tiny_slide), SCORES, TEXT, legend=True, style=PRESETS[name])
    assert page.width == pytest.approx((PRESETS[name].width_mm or 0) / 25.4)
    page.rendered()
    for item in page.figure.findobj(Text):
        if item.get_text() and item.get_visible():
            assert item.get_fontsize() >= 6 - 1e-9
            box = item.get_window_extent()
            assert box.x0 > -1, item.get_text()
            assert box.x1 < page.width * page.style.dpi + 1, item.get_text()


def test_each_format_is_exactly_as_wide_as_asked_and_tells_where_it_comes_from(
    tiny_slide: Path, tmp_path: Path
) -> None:
    style = FigureStyle(dpi=200, width_mm=100, font_pt=7)
    for suffix in ("pdf", "svg", "png"):
        write_figure(tmp_path / f"a.{suffix}", _drawing(tiny_slide), SCORES, TEXT, style=style)
    points = 100 / 25.4 * 72
    (box,) = re.findall(rb"/MediaBox \[ ?0 0 ([\d.]+) ", (tmp_path / "a.pdf").read_bytes())
    assert float(box) == pytest.approx(points, abs=1e-3)
    svg = (tmp_path / "a.svg").read_text(encoding="utf-8")
    (width,) = re.findall(r'<svg [^>]*?width="([\d.]+)pt"', svg)
    assert float(width) == pytest.approx(points, abs=1e-3)
    assert "attention of the class LUAD, logits</text>" in svg  # text stays text
    assert "not as labelled" in svg
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width == round(100 / 25.4 * 200)
        assert picture.width / picture.info["dpi"][0] * 25.4 == pytest.approx(100, abs=0.02)
        assert picture.info["Checkpoint SHA-256"] == "0123456789abcdef"
    for suffix in ("pdf", "svg"):
        assert b"0123456789abcdef" in (tmp_path / f"a.{suffix}").read_bytes()
    write_figure(tmp_path / "b.pdf", _drawing(tiny_slide), SCORES, TEXT, style=style)
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


def test_pictures_of_a_pdf_become_jpeg_and_other_files_stay_as_they_are(tiny_slide: Path, tmp_path: Path) -> None:
    write_figure(tmp_path / "a.pdf", _drawing(tiny_slide), SCORES, style=FigureStyle(dpi=300, width_mm=180))
    data = (tmp_path / "a.pdf").read_bytes()
    assert data.count(b"/DCTDecode") >= 2
    assert len(data) < 3_000_000
    start = int(re.findall(rb"startxref\s+(\d+)", data)[-1])
    assert data[start : start + 4] == b"xref"
    offsets = [int(at) for at, kind in re.findall(rb"(\d{10}) \d{5} ([nf])", data[start:]) if kind == b"n"]
    assert all(re.match(rb"\d+ 0 obj", data[at:]) for at in offsets)
    assert with_jpeg_pictures(b"%PDF-1.4 no table") == b"%PDF-1.4 no table"


def test_only_the_panels_asked_for_are_shown(tiny_slide: Path) -> None:
    few = compose_figure(_drawing(tiny_slide), SCORES, TEXT, legend=True, style=FigureStyle(panels=("map", "bar")))
    words = [item.get_text() for item in few.figure.findobj(Text)]
    assert "highest" not in words
    assert "slide" not in words
    with pytest.raises(ConfigError, match="unknown panel 'nothing'"):
        FigureStyle(panels=("map", "nothing"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="slide or the map"):
        FigureStyle(panels=("bar",))


def test_words_are_broken_where_they_do_not_fit() -> None:
    lines = wrapped("a name_of_many_parts_that_is_long", 9.5, 1.0)
    assert "".join(lines).replace(" ", "") == "aname_of_many_parts_that_is_long"
    assert all(text_width(line, 9.5) <= 1.0 + 1e-6 for line in lines)
    assert all(line.endswith(("_", "a", "long")) for line in lines)


def test_a_page_of_given_height_is_filled(tiny_slide: Path) -> None:
    page = compose_figure(_drawing(tiny_slide), SCORES, TEXT, legend=True, style=PRESETS["slide_16_9"])
    pictures = sorted((axes.get_position().bounds for axes in page.figure.axes), key=lambda box: box[2] * box[3])[-2:]
    assert sum(width * height for _, _, width, height in pictures) > 0.25
    assert min(bottom for _, bottom, _, _ in (axes.get_position().bounds for axes in page.figure.axes)) > 0
