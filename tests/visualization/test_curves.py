"""The pictures of a measurement: curves of a map, of a slide, and the cohort."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from mil_heatmaps.explain.faithfulness_cohort import csv_rows, summarise
from mil_heatmaps.models.abmil import ABMIL
from mil_heatmaps.visualization.cohort_figure import cohort_page, write_cohort
from mil_heatmaps.visualization.curves_figure import curves_page
from mil_heatmaps.visualization.curves_panel import DELETION, INSERTION, draw_curves
from mil_heatmaps.visualization.figure import FigureText, compose_figure
from mil_heatmaps.visualization.figure_parts import wrapped
from mil_heatmaps.visualization.figure_style import FigureStyle
from mil_heatmaps.visualization.wsi_object import WholeSlideImage
from tests.helpers.drawings import planned

FEW = {"status": "too few patches", "foot": "Only 2 patches: too few to tell a map from chance, whatever it shows."}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    bag = rng.normal(size=(60, 12)).astype(np.float32)
    partly = np.where(np.arange(60) < 20, np.nan, bag[:, 1])
    maps = {"mine": bag[:, 0], "partly": partly, "flat": np.ones(60)}
    model = ABMIL(12, 16, 8, num_classes=2).eval()
    found: dict[str, Any] = model.faithfulness(bag, maps, ["a", "b"], target="b", drawn="mine").as_dict()
    return found | {"slide_id": "S1"}


def words(page: Any) -> str:
    return "\n".join(item.get_text() for item in page.figure.findobj(Text) if item.get_text())


@pytest.mark.parametrize("name", ["mine", "partly"])
def test_the_curves_are_the_documents_numbers(document: dict[str, Any], name: str) -> None:
    axes = Figure().add_subplot()
    draw_curves(axes, document, name)
    entry = document["maps"][name]
    share = 100 * np.array(entry.get("fractions", document["fractions"]))
    deletion, insertion = (line for line in axes.get_lines() if line.get_color() in (DELETION, INSERTION))
    assert np.allclose(deletion.get_xydata(), np.stack([share, entry["morf"]["probability"]], 1))
    assert np.allclose(insertion.get_xydata(), np.stack([100 - share, entry["lerf"]["probability"]], 1))
    band = axes.collections[0].get_paths()[0].vertices
    low = entry.get("random", document["random"])["probability"]["low"]
    assert np.isin(np.round(low, 9), np.round(band[:, 1], 9)).all()
    assert {"p(b)", "0.5", "100", "without the top patches"} <= {text.get_text() for text in axes.texts}
    assert axes.get_title(loc="left") == f"{name}: {entry['verdict']}"


def test_a_map_that_was_not_measured_is_told_in_words(document: dict[str, Any]) -> None:
    axes = Figure().add_subplot()
    draw_curves(axes, document, "flat")
    assert not axes.get_lines()
    assert axes.texts[0].get_text() == "All patches have the same score: this map shows no order."


def test_the_figures_panel_writes_its_title_clear_of_other_words(document: dict[str, Any], tiny_slide: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    text = FigureText(curves=document | {"maps": {"few": {**FEW, "drawn": True}}}, map_name="few")
    drawing = planned([1.0, 2.0], [[0, 0], [256, 0]], WholeSlideImage(tiny_slide), segment=False)
    page = compose_figure(drawing, np.array([1.0, 2.0]), text, legend=True, style=FigureStyle(panels=("map", "curves")))
    canvas = FigureCanvasAgg(page.figure)
    canvas.draw()
    boxes = [
        (item.get_text(), item.get_window_extent(canvas.get_renderer()))
        for item in page.figure.findobj(Text)
        if item.get_visible() and item.get_text().strip()
    ]
    (title, own), *_ = (one for one in boxes if "how faithful" in one[0])
    assert title == "how faithful the map is · few: too few patches"
    assert not [said for said, box in boxes if said != title and own.overlaps(box)]


def test_a_map_under_another_name_is_the_drawn_one(document: dict[str, Any]) -> None:
    axes = Figure().add_subplot()
    draw_curves(axes, document, "external")
    assert axes.get_title(loc="left").startswith("mine: ")
    numbers = document | {"full": {"value": 2.0}, "output": "value", "task": "regression"}
    told = {kind: {"value": [40.0, 20.0, 10.0], "low": [1.0], "high": [50.0]} for kind in ("morf", "lerf")}
    entry = {"status": "measured", "foot": "", **told, "fractions": [0.0, 0.4, 0.8]}
    band = {"random": {"value": {"mean": [40.0, 30.0, 30.0], "low": [5.0, 5.0, 5.0], "high": [60.0, 50.0, 50.0]}}}
    axes = Figure().add_subplot()
    draw_curves(axes, numbers | {"maps": {"external": entry | band}}, "external")
    assert {"20", "40", "60"} <= {text.get_text() for text in axes.texts}  # ticks of numbers that are no chances
    empty = Figure().add_subplot()
    draw_curves(empty, document | {"maps": {}}, "external")
    assert empty.texts[0].get_text() == "This map was not measured."


def test_the_slides_picture_has_every_map_the_drawn_one_first(document: dict[str, Any]) -> None:
    told = words(curves_page(document))
    assert told.index("mine (drawn)") < told.index("partly:") < told.index("flat: constant map")
    assert "60 patches, target b" in told
    first = wrapped(document["maps"]["mine"]["foot"], 56)[0]
    assert first in told


def test_the_cohorts_picture_shows_means_with_intervals_and_counts(document: dict[str, Any], tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    for number in range(6):
        rows += [row | {"srg": row["srg"] and row["srg"] + number} for row in csv_rows(f"S{number}", document)]
    summaries = summarise(rows)
    page = cohort_page(rows, summaries)
    told = words(page)
    assert "Faithfulness of 3 maps on 6 slides" in told
    assert "mine (drawn)" in told
    assert "not measured" in told  # the constant map
    assert f"{summaries[0].better} of 6" in told
    srg = page.figure.axes[0]
    best = summaries[0]
    bars = [line.get_xdata() for line in srg.get_lines() if len(line.get_xdata()) == 2]
    assert any(np.allclose(bar, [best.low, best.high]) for bar in bars)
    write_cohort(tmp_path / "cohort.png", rows, summaries)
    assert Image.open(tmp_path / "cohort.png").width > 1000


def test_fewer_slides_have_points_and_no_mean(document: dict[str, Any]) -> None:
    rows = csv_rows("S1", document)
    page = cohort_page(rows, summarise(rows))
    assert "no mean of fewer than 5" in words(page)


def test_a_number_keeps_its_sign_in_the_same_line() -> None:
    assert wrapped("p at > 0.99; random 5 %", 8) == ["p at", ">\xa00.99;", "random", "5\xa0%"]
