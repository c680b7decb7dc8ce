"""A run with fine maps in the viewer: which scores it opens, and that they look as the run drew them."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mil_heatmaps.config.drawing_sections import HeatmapArguments
from mil_heatmaps.scores.normalize import normalize, reference_words
from mil_heatmaps.scores.patch_scores import PatchScores
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.scores.score_schema import write_scores
from mil_heatmaps.viewer.catalog import Catalog, Defaults, NamedFile, SlideEntry
from mil_heatmaps.viewer.content import Content
from mil_heatmaps.viewer.layers import ScoreLayer
from mil_heatmaps.viewer.palettes import palettes
from mil_heatmaps.viewer.run_defaults import defaults_of
from mil_heatmaps.viewer.run_folder import catalog_of_runs
from mil_heatmaps.visualization.palette import colour_table
from tests.helpers.browser import SIZE, Open, go_to, pixel_at, show
from tests.helpers.viewer import RunningViewer, running, write_score_file

CONFIG = """
data_arguments: {{data_dir: {slides}, label_dict: {{normal: 0, tumor: 1}}}}
encoder_arguments: {{model_name: efficientnet_lite0}}
patching_arguments: {{overlap: 0.5}}
heatmap_arguments: {{calc_heatmap: true, use_roi: false, use_ref_scores: true, normalize: null, cmap: viridis,
                    segment: true, threshold: 0.1}}
"""


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory, tiny_slide: Path) -> tuple[Path, dict[str, ScoreFile]]:
    """Two runs on one slide: E with a fine map, F without."""
    root, name = tmp_path_factory.mktemp("raw"), tiny_slide.stem
    slides = tmp_path_factory.mktemp("slides")  # other tests write beside the shared slide
    shutil.copy(tiny_slide, slides)
    made = {}
    for number, exp in enumerate(("E", "F")):
        home = root / exp / "tumor" / name
        home.mkdir(parents=True)
        made[exp] = write_score_file(home / f"{name}_blockmap.h5", SIZE, seed=number)
        config = CONFIG.format(slides=slides)
        (root / exp / "config.yaml").write_text(config if exp == "E" else config.replace("true", "false", 1))
    fine = root / "E" / "tumor" / name / f"{name}_0.5_roi_False.h5"
    made["fine"] = write_score_file(fine, SIZE, step=64, seed=5)
    write_score_file(fine.with_name(f"{name}_0.75_roi_False.h5"), SIZE, step=32)  # of an earlier config
    return root, made


@pytest.fixture(scope="module")
def viewer(browser: Any, maps: tuple[Path, dict[str, ScoreFile]]) -> Iterator[RunningViewer]:
    with running(catalog_of_runs([maps[0] / "E", maps[0] / "F"])) as started:
        yield started


def test_a_run_opens_with_its_fine_map_ranked_among_the_coarse_one(
    open_page: Open, maps: tuple[Path, dict[str, ScoreFile]]
) -> None:
    page = open_page("opacity=1&threshold=0")
    titles = page.evaluate("heatmapViewer.layers.map((layer) => layer.title)")
    assert list(dict.fromkeys(titles)) == ["E: fine map, overlap 0.5", "E: coarse map", "F"]
    assert page.evaluate("heatmapViewer.contents") == ["slide", "0.0", "4.0"]  # the other run's own, not the bag's
    fine, coarse = maps[1]["fine"], maps[1]["E"]
    assert reference_words(coarse.scores.values[:, 0]) in page.locator(".legend").first.inner_text()
    ranked = normalize(fine.scores.values[:, 0], "percentile_ref", reference=coarse.scores.values[:, 0]).shades
    point = (1000, 900)
    go_to(page, *point, 1.0)
    corners = fine.grid.coords_l0
    inside = ((corners <= point) & (np.array(point) < corners + 128)).all(1)
    mean = np.floor(np.minimum(np.floor(ranked[inside] * 65536), 65535).mean())
    expected = colour_table("viridis")[int(mean) >> 8].astype(int)
    assert np.abs(np.array(pixel_at(page, 1, *point)[:3]) - expected).max() <= 2


def test_colours_begin_as_the_run_drew_them(open_page: Open) -> None:
    view = open_page().evaluate("heatmapViewer.view")
    assert (view["cmap"], view["norm"], view["inside"], view["threshold"]) == ("viridis", "auto", True, 0.1)


def test_another_model_is_compared_on_the_same_score_and_class(open_page: Open) -> None:
    page = open_page("panes=slide;3.0")  # the coarse map's contribution to 'normal'
    page.keyboard.press("c")
    page.wait_for_selector(".panes-3")
    assert page.evaluate("heatmapViewer.contents") == ["slide", "3.0", "5.0"]


def test_signed_scores_begin_around_zero_in_the_figures_colours_and_words(
    open_page: Open, viewer: RunningViewer
) -> None:
    name = "heatmapViewer.colours.paletteFor(heatmapViewer.panes[1]).name"
    page = open_page("panes=slide;0.0&cmap=auto")
    assert page.evaluate(name) == "viridis"  # attention has no middle: the run's own, by itself as well
    for cmap in ("", "&cmap=auto"):  # the run's viridis has no middle
        show(page, f"{viewer.link}#panes=slide;3.0{cmap}")
        legend = page.locator(".legend").first.inner_text()
        assert "centred at 0" in legend
        assert "brown raises the logit of normal, teal lowers it" in legend
        assert page.evaluate(name) == "BrBG_r"
    show(page, f"{viewer.link}#panes=slide;3.0&cmap=jet")
    assert page.evaluate(name) == "jet"


@pytest.mark.parametrize(
    ("text", "cmap", "signed"),
    [
        ("", None, "BrBG_r"), ("cmap: jet", "jet", "BrBG_r"), ("cmap: auto", "viridis", "BrBG_r"),
        ("cmap: RdBu_r", "RdBu_r", "RdBu_r"), ("cmap: jet, cmap_signed: PuOr_r", "jet", "PuOr_r"),
        ("cmap_signed: auto", None, "BrBG_r"), ("cmap: jet, compat: clam", "jet", None),
    ],
)  # fmt: skip
def test_a_runs_colours_are_those_of_its_figures(text: str, cmap: str | None, signed: str | None) -> None:
    found = defaults_of({"heatmap_arguments": yaml.safe_load(f"{{{text}}}")})
    figures = HeatmapArguments.model_validate({"normalize": "minmax", **yaml.safe_load(f"{{{text}}}")})
    assert (found.cmap, found.cmap_signed) == (cmap, signed)
    assert (found.cmap or palettes()[0]["name"]) == figures.colours("attention_logit", fine=False).cmap
    assert (found.cmap_signed or found.cmap) == figures.colours("class_contribution", fine=False).cmap


def test_the_middle_and_nearly_even_attention_are_told_as_in_the_figure(tmp_path: Path) -> None:
    flat = write_score_file(tmp_path / "f.h5", SIZE)
    values = np.linspace(0, 0.1, len(flat.grid), dtype=np.float32)[:, None]
    scores = PatchScores(None, values, ("attention",), "attention_logit")
    layer = ScoreLayer(NamedFile(tmp_path / "f.h5", "f"), 0, scores, flat)
    (spread,) = layer.describe()["spread"]
    assert spread["even"]
    assert "nearly even" in spread["words"]
    assert layer.colours(Defaults())["centers"] == [None]
    signed = ScoreLayer(layer.named, 0, replace(scores, kind="class_contribution"), flat)
    assert signed.describe()["spread"] == [None]
    assert signed.colours(Defaults(center=0.05))["centers"] == [[0.05, ""]]
    assert signed.colours(Defaults())["centers"] == [[0.0, ""]]


def test_the_cohorts_middle_is_that_of_the_slides_record_and_of_the_drawn_score_alone(
    tiny_slide: Path, tmp_path: Path
) -> None:
    path = tmp_path / "tiny_blockmap.h5"
    whole = write_score_file(path, SIZE)
    write_scores(path, replace(whole, scores=whole.extra[0], extra=(replace(whole.extra[0], score="other"),)))
    entry = SlideEntry("tiny", tiny_slide, (NamedFile(path, "scores"),))
    content = Content(Catalog("run", (entry,), defaults=Defaults(center="cohort_median")))
    try:
        about = content.describe(0)
        assert [layer["centers"] for layer in about["layers"]] == [[None, None], [None, None]]
        assert any("cohort's median" in problem for problem in about["problems"])
        medians = {"cohort_medians": {"normal": -0.5, "tumor": 0.25, "odd": "x"}}
        path.with_name("record.json").write_text(json.dumps({"stages": {"heatmap": {"inputs": medians}}}))
        about = content.describe(0)
        drawn = [[-0.5, "the cohort's median"], [0.25, "the cohort's median"]]
        assert [layer["centers"] for layer in about["layers"]] == [drawn, [None, None]]
        assert not any("cohort's median" in problem for problem in about["problems"])
    finally:
        content.close()


@pytest.mark.parametrize(
    ("settings", "norm", "attention", "contribution"),
    [
        ("vmin: -2, vmax: 3", "auto", ("percentile", -2, 3), ("score", -2, 3)),
        ("vmax: 3", "auto", ("percentile", 0, 3), ("score", -3, 3)),
        ("vmin: 50", "auto", ("percentile", 50, 100), ("score", -50, 50)),
        ("normalize: robust, vmin: -2", "auto", None, ("score", -2, 2)),
        ("normalize: robust, vmin: -2, vmax: 3", "fixed", ("score", -2, 3), ("score", -2, 3)),
        ("normalize: softmax, vmax: 0.01", "auto", ("share", 0, 0.01), None),
    ],
)
def test_the_range_begins_as_the_runs_pictures_have_it(
    browser: Any, maps: tuple[Path, dict[str, ScoreFile]], tmp_path: Path, open_page: Open, settings: str, norm: str,
    attention: tuple[str, float, float] | None, contribution: tuple[str, float, float] | None,
) -> None:  # fmt: skip
    run = shutil.copytree(maps[0] / "F", tmp_path / "F")
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("normalize: null", settings))
    with running(catalog_of_runs([run])) as viewer:
        page = open_page("panes=0.0;1.0", link=viewer.link)
        view = page.evaluate("heatmapViewer.view")
        assert (view["norm"], view["low"], view["high"]) == (norm, 0, 1)
        for pane, expected in enumerate((attention, contribution)):
            scale = page.evaluate(
                "(at) => { const s = heatmapViewer.panes[at].views[0].scaled(heatmapViewer.colours.choice).scale;"
                "return [s.unit, s.low, s.high]; }",
                pane,
            )
            assert expected is None or tuple(scale) == expected


@pytest.mark.parametrize(
    ("setting", "attention", "contribution"),
    [
        ("use_ref_scores: true", "percentile_ref", "robust"),
        ("use_ref_scores: false", "percentile", "robust"),
        ("use_ref_scores: true, compat: clam", "percentile_ref", "percentile_ref"),
    ],
)
def test_each_score_of_a_fine_map_begins_as_the_run_draws_it(
    maps: tuple[Path, dict[str, ScoreFile]], tmp_path: Path, setting: str, attention: str, contribution: str
) -> None:
    run = shutil.copytree(maps[0] / "E", tmp_path / "E")
    config = run / "config.yaml"
    text = config.read_text().replace("use_ref_scores: true", setting)
    config.write_text(text.replace("cmap: viridis", "cmap: null"))
    content = Content(catalog_of_runs([run]))
    try:
        usual = {(about["score"], about["bag"]): about["usual"] for about in content.describe(0)["layers"]}
        defaults = content.catalog.defaults.as_view()
    finally:
        content.close()
    assert (usual["attention", False], usual["contribution", False]) == (attention, contribution)
    assert "norm" not in defaults
    assert defaults.get("cmap") == ("jet" if "clam" in setting else None)
