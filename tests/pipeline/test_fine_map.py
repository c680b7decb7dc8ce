"""Features made by the run, and fine maps: what is encoded when, and what the numbers are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mil_heatmaps.config.config import load_config
from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.pipeline.runner import Runner, RunOptions, RunSummary
from mil_heatmaps.scores.percentiles import reference_percentiles
from tests.helpers.cohort import SmallCohort, grid_coords, make_encoded, write_abmil, write_features

STUB = "tests.helpers.stub_encoder:create"
WIDTH = 48


def make(tmp_path: Path, **heatmap: Any) -> SmallCohort:
    """A cohort without features, whose slides are encoded by the stub."""
    cohort = make_encoded(tmp_path, STUB, **heatmap)
    cohort.config["encoder_arguments"]["target_img_size"] = 64  # as large as the patches; more would only take longer
    cohort.rows = cohort.rows[:1]
    return cohort


def run(cohort: SmallCohort, **options: Any) -> RunSummary:
    return Runner(load_config(cohort.write()), RunOptions(**options)).run()


def raw(cohort: SmallCohort, name: str) -> Path:
    return cohort.raw / "a" / "s1" / name


def test_features_are_made_in_tridents_layout_and_scored(tmp_path: Path) -> None:
    cohort = make(tmp_path, calc_heatmap=False)
    summary = run(cohort)
    assert summary.failed == {}
    with h5py.File(raw(cohort, "s1.h5")) as file:
        count = len(file["coords"])
        assert file["features"].shape == (count, WIDTH)
        assert int(file["coords"].attrs["patch_size_level0"]) == 64
    assert raw(cohort, "s1.pt").is_file()
    assert cohort.process_list()["s1"]["bag_size"] == str(count)
    assert not raw(cohort, "s1_0.5_roi_False.h5").exists()


def test_the_fine_map_is_ranked_among_the_bag(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    assert run(cohort).failed == {}
    with h5py.File(raw(cohort, "s1_0.5_roi_False.h5")) as fine, h5py.File(raw(cohort, "s1_blockmap.h5")) as bag:
        assert len(fine["coords"]) > 2 * len(bag["coords"])
        expected = reference_percentiles(fine["scores"][:, 0], bag["attention_scores"][:, 0])
        np.testing.assert_array_equal(fine["attention_scores"][:, 0], expected)
    assert list(cohort.production.glob("a/s1_0.5_roi_0_blur_0_rs_1_*.png"))


def test_another_checkpoint_scores_again_without_encoding(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    run(cohort)
    write_abmil(cohort.checkpoint, seed=1, width=WIDTH)
    assert set(run(cohort).stage_seconds) == {"attention", "fine", "heatmap", "samples"}
    assert run(cohort).reused == ["s1"]


def test_another_overlap_encodes_the_fine_map_only(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    run(cohort)
    cohort.config["patching_arguments"]["overlap"] = 0.25
    assert set(run(cohort).stage_seconds) == {"fine_features", "fine", "heatmap"}


def test_a_fine_map_on_the_grid_of_given_features_covers_the_same_tissue(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    write_features(cohort.features / "s1.h5", 1, width=WIDTH)
    cohort.config["data_arguments"]["h5_dir"] = str(cohort.features)
    cohort.config["heatmap_arguments"]["calc_heatmap"] = True
    assert run(cohort).failed == {}
    with h5py.File(raw(cohort, "s1_0.5_roi_False.h5")) as fine:
        coords = fine["coords"][:]
    assert (coords % 64 == 0).all()
    assert {tuple(corner) for corner in grid_coords().tolist()} <= {tuple(corner) for corner in coords.tolist()}


def test_a_region_of_interest_is_drawn_alone_from_a_box_or_a_polygon(tmp_path: Path) -> None:
    from PIL import Image

    cohort = make(tmp_path, use_roi=True)
    cohort.rows[0].update(x1="100", y1="100", x2="500", y2="400")
    assert run(cohort).failed == {}
    box = next(cohort.production.glob("a/s1_0.5_roi_1_*.png"))
    assert Image.open(box).size == (400, 300)
    with h5py.File(raw(cohort, "s1_0.5_roi_True.h5")) as fine:
        in_box = len(fine["coords"])
    polygon = {"type": "Polygon", "coordinates": [[[100, 100], [500, 100], [100, 400], [100, 100]]]}
    roi = tmp_path / "roi"
    roi.mkdir()
    (roi / "s1.geojson").write_text(json.dumps({"type": "Feature", "geometry": polygon, "properties": {}}))
    cohort.config["data_arguments"]["roi_dir"] = str(roi)
    assert run(cohort).failed == {}
    with h5py.File(raw(cohort, "s1_0.5_roi_True.h5")) as fine:
        assert 0 < len(fine["coords"]) < in_box


BOXES = {
    "outside the slide": (("5000", "5000", "6000", "6000"), "ROI (5000, 5000) to (6000, 6000) lies"),
    "no patch lies in": (("0", "0", "30", "30"), "ROI (0, 0) to (30, 30)"),
}


@pytest.mark.parametrize("words", BOXES)
@pytest.mark.parametrize("map_of", ["clam", "features", "bag"])
def test_a_region_outside_the_slide_or_without_patches_fails_its_row(
    map_of: str, words: str, tmp_path: Path
) -> None:
    """In every kind of map, and no other slide's."""
    cohort = make(tmp_path, use_roi=True)
    if map_of != "clam":
        tissue = np.array([[256, 256], [320, 256], [256, 320]])
        for slide_id in ("s1", "s2"):
            write_features(cohort.features / f"{slide_id}.h5", 1, width=WIDTH, coords=tissue)
        cohort.config["data_arguments"]["h5_dir"] = str(cohort.features)
        cohort.config["heatmap_arguments"]["calc_heatmap"] = map_of == "features"
    box, reason = BOXES[words]
    cohort.rows = [
        {"slide_id": "s1", "label": "a", **dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))},
        {"slide_id": "s2", "label": "a", "x1": "100", "y1": "100", "x2": "600", "y2": "500"},
    ]
    failed = run(cohort).failed
    assert set(failed) == {"s1"}
    assert words in failed["s1"]
    assert reason in failed["s1"]


@pytest.mark.parametrize("overlap", [1.0, 1.5, -0.1])
def test_an_overlap_that_leaves_no_step_stops_before_any_work(overlap: float, tmp_path: Path) -> None:
    cohort = make(tmp_path)
    cohort.config["patching_arguments"]["overlap"] = overlap
    with pytest.raises(HeatmapError, match=r"patching_arguments\.overlap"):
        run(cohort)


def test_a_score_that_depends_on_the_bag_is_computed_in_the_bags_place_and_said(tmp_path: Path) -> None:
    cohort = make(tmp_path, score="attention_softmax")
    summary = run(cohort)
    assert summary.failed == {}
    how = "scored in 4 bags, each set without overlap in the place of the bag's own patches"
    assert any(how in note for note in summary.notes["s1"])
    with h5py.File(raw(cohort, "s1_0.5_roi_False.h5")) as fine, h5py.File(raw(cohort, "s1_blockmap.h5")) as bag:
        assert fine["scores"].attrs["scored_as"].decode() == how
        # On the bag's scale: shares of about 1 / N, N the bag's patches and not a phase's.
        share = bag["scores"][:, 0].mean()
        assert fine["scores"][:, 0].mean() == pytest.approx(share, rel=0.05)


def test_an_encoder_of_another_width_than_the_model_stops_before_any_work(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    write_abmil(cohort.checkpoint, width=16)
    with pytest.raises(HeatmapError, match=r"48-d features.*16-d"):
        run(cohort)
    assert not list(cohort.raw.rglob("*.pkl"))


def test_patches_larger_than_the_slide_fail_with_the_reason(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    cohort.config["patching_arguments"]["patch_size"] = 4096
    reason = run(cohort).failed["s1"]
    assert "patches of 4096 x 4096 level-0 pixels are larger than s1.tif, which has 1024 x 768" in reason


@pytest.mark.parametrize(
    ("by_level", "by_resolution"),
    [
        ({}, {"mpp": 0.5}),  # the slide's own, at which it counts as 20x
        ({}, {"magnification": 20}),
        ({"patch_level": 1}, {"mpp": 2.0}),
        ({"patch_level": 1}, {"magnification": 5}),
        ({"custom_downsample": 2}, {"magnification": 10}),
    ],
)
def test_patches_by_resolution_are_the_same_as_by_level(
    by_level: dict[str, float], by_resolution: dict[str, float], tmp_path: Path
) -> None:
    """Of the bag and of the fine map."""
    files = ("s1.h5", "s1_0.5_roi_False_features.h5")
    cohorts = [make(tmp_path / "a"), make(tmp_path / "b")]
    for cohort, keys in zip(cohorts, (by_level, by_resolution), strict=True):
        cohort.config["patching_arguments"].update(patch_size=32, **keys)
        assert run(cohort).failed == {}
    for name in files:
        with h5py.File(raw(cohorts[0], name)) as one, h5py.File(raw(cohorts[1], name)) as two:
            np.testing.assert_array_equal(one["coords"][:], two["coords"][:])
            np.testing.assert_array_equal(one["features"][:], two["features"][:])


def test_a_stop_in_the_middle_of_encoding_keeps_the_batches_done(tmp_path: Path) -> None:
    from mil_heatmaps.records.slide_record import SlideRecord
    from mil_heatmaps.stages.all_stages import STAGES
    from mil_heatmaps.stages.run_slide import run_slide

    cohort = make(tmp_path, calc_heatmap=False)
    cohort.config["exp_arguments"]["batch_size"] = 8
    calm = make(tmp_path / "calm", calc_heatmap=False)
    calm.config["exp_arguments"]["batch_size"] = 8
    assert run(calm).failed == {}
    runner = Runner(load_config(cohort.write()))
    job = runner.chosen_jobs()[0]
    asked: list[int] = []

    def after_three_batches() -> bool:
        log = raw(cohort, "s1.h5.encoding")
        asked.append(1)
        return log.is_file() and len(asked) > 6

    stopped = run_slide(job, runner.settings, STAGES, should_stop=after_three_batches)
    assert stopped.stopped
    assert raw(cohort, "s1.h5.encoding").is_file()
    assert "features" not in SlideRecord.load(job.paths.record, job.slide_id).stages
    assert run(cohort).failed == {}
    assert raw(cohort, "s1.h5").read_bytes() == raw(calm, "s1.h5").read_bytes()


def test_a_polygon_leaves_patches_of_the_bag_uncoloured_too(tmp_path: Path) -> None:
    from PIL import Image

    cohort = make(tmp_path, use_roi=True, alpha=1.0, blank_canvas=True, calc_heatmap=False)
    write_features(cohort.features / "s1.h5", 1, width=WIDTH)
    cohort.config["data_arguments"].update(h5_dir=str(cohort.features), roi_dir=str(tmp_path / "roi"))
    (tmp_path / "roi").mkdir()
    triangle = [[128, 128], [640, 128], [128, 640], [128, 128]]
    shape = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [triangle]}}
    (tmp_path / "roi" / "s1.geojson").write_text(json.dumps(shape))
    assert run(cohort).failed == {}
    picture = np.asarray(Image.open(next(cohort.production.glob("a/s1_0.0_roi_1_*.png"))))
    assert picture.shape[:2] == (512, 512)
    assert (picture[-100:, -100:] == 255).all()  # the corner of the box that the triangle leaves out
    assert not (picture[130:200, 130:200] == 255).all()
