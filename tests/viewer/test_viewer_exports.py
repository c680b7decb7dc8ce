"""Several slides as pages with a list, and what a blind reading keeps back."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.slides.affine import read_affine
from mil_heatmaps.viewer.catalog import Catalog, NamedFile, SlideEntry
from mil_heatmaps.viewer.content import Content
from tests.helpers.browser import SIZE, new_page, show, words_of
from tests.helpers.viewer import write_score_file

MARKUP = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def catalog(tiny_slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    path = tmp_path_factory.mktemp("scores") / "tiny_blockmap.h5"
    write_score_file(path, SIZE)
    scores = (NamedFile(path, "scores"),)
    entries = (
        SlideEntry(
            "tiny", tiny_slide, scores, cells={"Pred_0": "tumor"}, label="normal", prediction="tumor", probability=0.75
        ),
        SlideEntry(MARKUP, tiny_slide, scores),
        SlideEntry("gone", None, scores, problem="open: slide not found"),
    )  # fmt: skip
    return Catalog(MARKUP, entries, ("Pred_0",))


def test_several_slides_are_pages_with_a_list(catalog: Catalog, tmp_path: Path) -> None:
    from mil_heatmaps.viewer.export_index import export_slides

    said = export_slides(catalog, tmp_path / "all.html", ["all"], longest_px=512)
    assert said.startswith("2 slides in ")
    page = (tmp_path / "all.html").read_text(encoding="utf-8")
    assert "<img" not in page
    assert "✗ wrong" in page
    links = re.findall(r'href="([^"]+)"', page)
    assert len(links) == 2
    assert all((tmp_path / link.replace("%3C", "<")).exists() or "%" in link for link in links)
    assert len(list((tmp_path / "all_slides").glob("*.html"))) == 2
    with pytest.raises(ConfigError, match="'nobody'"):
        export_slides(catalog, tmp_path / "x.html", ["tiny", "nobody"])


def test_an_exported_slide_saves_pictures_and_takes_marks(browser: Any, catalog: Catalog, tmp_path: Path) -> None:
    from mil_heatmaps.viewer.export_html import export_html

    export_html(catalog, tmp_path / "tiny.html", longest_px=512, slide_id="tiny")
    page, faults = new_page(browser), []
    page.on("console", lambda message: faults.append(words_of(message)) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    show(page, (tmp_path / "tiny.html").as_uri())
    with page.expect_download() as download:
        page.keyboard.press("s")
    assert download.value.suggested_filename == "tiny_view.png"
    page.keyboard.press("B")
    page.wait_for_selector("#marks-section")
    assert "Kept until the page is closed" in page.inner_text("#marks-section")
    assert faults == []
    page.context.close()


def test_a_blind_reading_holds_back_label_prediction_and_what_tells_of_them(catalog: Catalog) -> None:
    from dataclasses import replace

    told = []
    for blind in (False, True):
        content = Content(replace(catalog, blind=blind))
        told.append((content.index("x"), content.describe(0)))
        content.close()
    (index, about), (blind_index, blind_about) = told
    assert index["slides"][0]["prediction"] == "tumor"
    assert about["layers"][0]["prediction"]["values"] == [0.25, 0.75]
    assert blind_about["layers"][0]["prediction"] is None
    assert blind_index["columns"] == []
    slide = blind_index["slides"][0]
    assert {key: slide[key] for key in ("label", "prediction", "probability", "wrong", "cells", "verdict")} == {
        "label": "", "prediction": "", "probability": None, "wrong": None, "cells": {}, "verdict": "",
    }  # fmt: skip
    assert "0.75" not in json.dumps([blind_index["slides"], blind_about["layers"][0]["prediction"]])


@pytest.mark.parametrize(
    ("matrix", "why"),
    [
        ([[1, 0], [0, 1]], "3 x 3"),
        ([[1, 0, 0], [0, 1, 0], [1, 0, 1]], "last row"),
        ([[1, 2, 0], [2, 4, 0], [0, 0, 1]], "cannot be inverted"),
    ],
)
def test_what_is_no_affine_map_is_refused(matrix: list[list[float]], why: str, tmp_path: Path) -> None:
    import numpy as np

    path = tmp_path / "A.npy"
    np.save(path, np.array(matrix, float))
    with pytest.raises(ConfigError, match=why):
        read_affine(path)
    (tmp_path / "B.npy").write_bytes(b"no numbers")
    with pytest.raises(ConfigError, match="holds no arrays of NumPy"):
        read_affine(tmp_path / "B.npy")


def test_places_are_carried_to_the_slide_beside_and_back(browser: Any) -> None:
    import numpy as np

    source = (Path(__file__).parents[2] / "src/mil_heatmaps/viewer/page/js/beside.js").read_text(encoding="utf-8")
    page = new_page(browser)
    page.add_script_tag(content=source.replace("export class Frame", "window.Frame = class Frame"))
    rng = np.random.default_rng(0)
    for turn in (1, -1):
        matrix = np.eye(3)
        angle = 0.4
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix[:2, :2] = 0.5 * rotation @ np.diag([turn, 1])
        matrix[:2, 2] = rng.normal(0, 1000, 2)
        place = {"x": 1234.5, "y": 678.0, "scale": 0.25, "angle": 30.0}
        there, back = page.evaluate(
            "([matrix, place]) => { const f = new Frame(matrix), t = f.there(place); return [t, f.back(t)]; }",
            [matrix.tolist(), place],
        )
        assert [there["x"], there["y"]] == pytest.approx((matrix @ [1234.5, 678, 1])[:2])
        assert there["scale"] == pytest.approx(0.5)
        assert {key: back[key] for key in place} == pytest.approx(place)
        outline = {"type": "Polygon", "coordinates": [[[1, 2], [3, 4]]]}
        carried = page.evaluate(
            "([matrix, features]) => new Frame(matrix).carry(features)",
            [matrix.tolist(), [{"type": "Feature", "geometry": outline}]],
        )
        points = carried[0]["geometry"]["coordinates"][0]
        assert np.array(points) == pytest.approx((matrix @ [[1, 3], [2, 4], [1, 1]])[:2].T)
    page.context.close()
