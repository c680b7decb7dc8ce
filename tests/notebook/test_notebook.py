"""What a notebook shows of scores and of a run."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mil_heatmaps
from mil_heatmaps.errors import ConfigError, ScoreError
from mil_heatmaps.scores.patch_scores import PatchScores
from mil_heatmaps.scores.score_schema import write_scores
from tests.helpers.cohort import make_small_cohort
from tests.helpers.scores import example


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_scores(tmp_path / "s1_blockmap.h5", example(extra=()))
    return tmp_path / "s1_blockmap.h5"


def test_scores_say_what_they_are(path: Path) -> None:
    found = mil_heatmaps.read_scores(path)
    assert repr(found) == (
        "SlideScores('TCGA-1.ä', 20 patches of 256 x 256 px, contribution (LUAD, LSCC), \N{MINUS SIGN}2.325 to 1.493, "
        "predicted LSCC (p 0.700))"
    )
    assert len(found) == 20
    assert found.values.shape == (20, 2)


def test_a_table_names_its_slide_and_may_be_signed_numbers(tmp_path: Path) -> None:
    (tmp_path / "s2.csv").write_text("x,y,a,b\n0,0,1,2\n256,0,,3\n")
    found = mil_heatmaps.read_scores(tmp_path / "s2.csv")
    assert repr(found) == "SlideScores('s2', 2 patches of 256 x 256 px, a, b, 1 to 3, 1 notice)"
    table = found.to_pandas()
    assert list(table.columns[:6]) == ["x", "y", "width", "height", "a", "b"]
    assert table["b"].tolist() == [2, 3]


def test_the_cell_shows_map_colour_bar_prediction_and_notices(path: Path, tmp_path: Path) -> None:
    shown = mil_heatmaps.read_scores(path)._repr_html_()
    images = [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"base64,([^\"]+)", shown)]
    assert [image.size for image in images] == [(256, 205), (256, 10)]
    assert "predicted LSCC (p 0.700)" in shown
    pixels = np.asarray(images[0])
    assert (pixels[-1, -1] == 255).all()  # no patch reaches there
    assert not (pixels[2, 2] == 255).all()
    (tmp_path / "<b>.csv").write_text("x,y,<i>\n0,0,1\n256,0,3\n")
    shown = mil_heatmaps.read_scores(tmp_path / "<b>.csv")._repr_html_()
    assert "<i>" not in shown
    assert "<b><b>" not in shown
    assert "assuming no overlap" in shown


def test_an_empty_file_shows_itself_without_a_map(tmp_path: Path) -> None:
    file = example(extra=())
    empty = file.grid.take(np.zeros(20, bool))
    values = np.empty((0, 2), np.float32)
    scores = PatchScores(empty, values, ("LUAD", "LSCC"), "class_contribution", "contribution")
    write_scores(tmp_path / "e.h5", example(grid=empty, scores=scores, extra=()))
    assert "0 patches" in mil_heatmaps.read_scores(tmp_path / "e.h5")._repr_html_()


def test_plots_lie_over_the_slide_and_count_in_micrometres(tiny_slide: Path, tmp_path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    (tmp_path / "s.csv").write_text("x,y,a\n0,0,1\n256,0,2\n512,256,3\n")
    ax = mil_heatmaps.read_scores(tmp_path / "s.csv", slide=tiny_slide).plot("a")
    assert ax.get_xlabel() == "µm"
    assert len(ax.images) == 2
    assert ax.images[0].get_extent() == [0, 1024, 768, 0]  # 2048 x 1536 px at half a micrometre
    alone = mil_heatmaps.read_scores(tmp_path / "s.csv").plot(ax=ax)
    assert alone is ax
    assert ax.get_xlabel() == "level-0 pixels"
    with pytest.raises(ScoreError, match=r"no column 'b'; choose from \['a'\]"):
        mil_heatmaps.read_scores(tmp_path / "s.csv").plot("b")
    import matplotlib.pyplot as plt

    plt.close("all")


def test_names_with_dollar_signs_are_shown_as_they_are(tmp_path: Path) -> None:
    mpl = pytest.importorskip("matplotlib")
    mpl.use("Agg")
    path = tmp_path / "$\\frac{a$.csv"
    path.write_text("x,y,$\\bad{b$\n0,0,1\n256,0,2\n")
    figure = mil_heatmaps.read_scores(path).plot().figure
    figure.canvas.draw()
    shown = [text.get_text() for text in figure.findobj(mpl.text.Text)]
    assert "$\\frac{a$" in shown
    assert any(text.startswith("$\\bad{b$") for text in shown)



def test_anndata_has_the_thumbnail_of_a_slide_that_is_given(tiny_slide: Path, tmp_path: Path) -> None:
    pytest.importorskip("anndata")
    (tmp_path / "s.csv").write_text("x,y,a\n0,0,1\n256,0,2\n512,256,3\n")
    data = mil_heatmaps.read_scores(tmp_path / "s.csv", slide=tiny_slide).to_anndata()
    images = data.uns["spatial"]["s"]["images"]
    width = images["hires"].shape[1]
    assert data.uns["spatial"]["s"]["scalefactors"]["tissue_hires_scalef"] == width / 2048
    assert mil_heatmaps.read_scores(tmp_path / "s.csv").to_anndata().uns["spatial"]["s"]["images"] == {}


def test_a_run_returns_its_table(tmp_path: Path) -> None:
    cohort = make_small_cohort(tmp_path, {"run_arguments": {"workers": 1}})
    (cohort.features / "s2.h5").write_bytes(b"no features")
    cohort.rows.append({"slide_id": "s9", "label": "a"})
    config = cohort.write()
    table = mil_heatmaps.run(config).set_index("slide_id")
    assert table["status"].to_dict() == {"s1": "processed", "s2": "failed", "s3": "processed", "s9": "failed"}
    assert table.loc["s1", "prediction"] in ("a", "b")
    assert 0.5 <= table.loc["s1", "probability"] <= 1
    assert table.loc["s1", "patches"] == 48
    assert table.loc["s2", "error"]
    assert table.attrs["exit_code"] == 1
    only = mil_heatmaps.run(cohort.config, slides=("s1",), limit=1).set_index("slide_id")
    assert only.loc["s1", "status"] == "processed"
    with pytest.raises(ConfigError):
        mil_heatmaps.run({"exp_arguments": {}})


def test_importing_the_package_still_loads_nothing() -> None:
    code = (
        "import sys, mil_heatmaps; assert 'read_scores' in dir(mil_heatmaps);"
        "print([m for m in ('torch', 'numpy', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = mil_heatmaps.nothing
