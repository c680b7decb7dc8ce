"""Cases and concepts in the viewer: slides of a case on one scale, and every patch that is like a chosen one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mil_heatmaps.config.config import load_config
from mil_heatmaps.pipeline.runner import Runner
from mil_heatmaps.scores.percentiles import rank_percentiles
from mil_heatmaps.scores.score_schema import read_scores
from mil_heatmaps.viewer.run_folder import catalog_of_runs
from tests.helpers.browser import Open, settle, wait_until
from tests.helpers.cohort import SmallCohort, make_small_cohort, write_features
from tests.helpers.viewer import RunningViewer, running


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> SmallCohort:
    """A run over two cases; the slides of the first are not neighbours in the list."""
    given = {"data_arguments": {"bag": "case"}, "run_arguments": {"workers": 1, "isolate": "never"}}
    cohort = make_small_cohort(tmp_path_factory.mktemp("run"), given)
    cohort.config["sample_arguments"] = {"samples": []}
    for row, case in zip(cohort.rows, ("P1", "P2", "P1"), strict=True):
        row["case_id"] = case
    assert not Runner(load_config(cohort.write())).run().failed
    return cohort


@pytest.fixture(scope="module")
def viewer(cohort: SmallCohort) -> Iterator[RunningViewer]:
    pytest.importorskip("starlette", reason="the extra 'viewer' is not installed")
    with running(catalog_of_runs([cohort.raw], [cohort.slides])) as started:
        yield started


def units(cohort: SmallCohort, slide: str) -> np.ndarray[Any, Any]:
    with h5py.File(cohort.features / f"{slide}.h5") as file:
        values = np.asarray(file["features"][()], np.float64)
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True))


def test_a_chosen_patch_is_a_concept_for_its_slide_and_for_the_others(
    viewer: RunningViewer, cohort: SmallCohort
) -> None:
    names = [slide.slide_id for slide in viewer.app.content.catalog.slides]
    assert names == ["s1", "s3", "s2"]  # slides of a case stand together
    described = json.loads(viewer.ask("/api/slides/0.json")[2])
    assert described["layers"][0]["hasFeatures"] is True
    for place, slide in ((0, "s1"), (2, "s2")):
        status, _, told = viewer.ask(f"{viewer.data}/scores/{place}/0/like/0/0/5")
        assert status == 200
        np.testing.assert_allclose(np.frombuffer(told, "<f4"), units(cohort, slide) @ units(cohort, "s1")[5], atol=1e-6)
    about = json.loads(viewer.ask("/api/like/2/0/0/0/5.json")[2])
    assert (about["score"], about["kind"], about["names"]) == ("similarity_to", "similarity", ["patch 5 of s1"])
    assert viewer.ask(f"{viewer.data}/scores/0/0/like/0/0/500")[0] == 404


def test_features_that_do_not_match_are_refused_with_both_numbers(cohort: SmallCohort, tmp_path: Path) -> None:
    pytest.importorskip("starlette", reason="the extra 'viewer' is not installed")
    path = cohort.features / "s2.h5"
    before = path.read_bytes()
    try:
        write_features(path, 2, width=15)
        with running(catalog_of_runs([cohort.raw], [cohort.slides])) as other:
            status, _, words = other.ask(f"{other.data}/scores/2/0/like/0/0/5")
            assert status == 409  # its features are not those the scores were made of
            assert b"s2.h5 was written anew" in words
        path.unlink()
        with running(catalog_of_runs([cohort.raw], [cohort.slides])) as other:
            assert json.loads(other.ask("/api/slides/2.json")[2])["layers"][0]["hasFeatures"] is False
            assert other.ask(f"{other.data}/scores/2/0/like/0/0/5")[0] == 422
    finally:
        path.write_bytes(before)


def test_the_slides_of_a_case_stand_side_by_side_on_one_scale(
    open_page: Open, viewer: RunningViewer, cohort: SmallCohort
) -> None:
    page = open_page("slide=s1&norm=percentile", link=viewer.link)
    page.click("#case")
    wait_until(page, "heatmapViewer.board.cells?.every(cell => cell.pane?.heat?.content) ?? false")
    names = page.eval_on_selector_all(".case-head button", "all => all.map(one => one.textContent)")
    assert names == ["s1", "s3"]
    shown = page.evaluate("heatmapViewer.board.cells.map(cell => [...cell.pane.heat.content[0].values])")
    values = [read_scores(cohort.raw / "a" / slide / f"{slide}_blockmap.h5").attention for slide in ("s1", "s3")]
    ranks = rank_percentiles(np.concatenate(values)) / 100
    np.testing.assert_allclose(np.concatenate(shown) / 65536, ranks, atol=2e-5)
    assert "percentile within the case" in page.inner_text(".case-bar")
    page.click(".case-head button >> nth=1")
    wait_until(page, "heatmapViewer.slide.name === 's3' && !heatmapViewer.busy")
    settle(page)
    assert page.query_selector("#case-board") is None
    page.evaluate("heatmapViewer.openSlide(2)")
    wait_until(page, "heatmapViewer.slide.name === 's2'")
    assert page.is_hidden("#case")  # alone in its case


def test_more_like_this_colours_the_slide_and_the_next_one(open_page: Open, viewer: RunningViewer) -> None:
    page = open_page("slide=s1&patch=5", link=viewer.link)
    page.click("#like")
    wait_until(page, "heatmapViewer.activeView && heatmapViewer.layers.at(-1).score === 'similarity_to'")
    wait_until(page, "heatmapViewer.panes.some(pane => pane.views?.[0]?.name === 'patch 5 of s1')")
    best = page.evaluate("""(() => { const views = heatmapViewer.panes.map(p => p.views?.[0]);
        const { column } = views.find(v => v?.name === 'patch 5 of s1');
        return [column.ranking[0], column.values[5]]; })()""")
    assert best == [5, pytest.approx(1, abs=1e-6)]
    settle(page)
    page.evaluate("heatmapViewer.openSlide(1)")
    wait_until(page, "heatmapViewer.slide.name === 's3' && heatmapViewer.layers.at(-1).names?.[0] === 'patch 5 of s1'")
    settle(page)
