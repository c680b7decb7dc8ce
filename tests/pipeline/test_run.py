"""The pipeline end to end on three tiny slides: outputs, reuse, what is done again and what is not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from mil_heatmaps.config.config import load_config
from mil_heatmaps.pipeline.runner import Runner, RunOptions, RunSummary
from mil_heatmaps.scores.score_schema import read_scores
from mil_heatmaps.visualization.palette import colour_table
from tests.helpers.cohort import SmallCohort, grid_coords, make_small_cohort, write_abmil, write_features


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    return make_small_cohort(tmp_path)


def run(cohort: SmallCohort, **options: object) -> RunSummary:
    return Runner(load_config(cohort.write()), RunOptions(**options)).run()  # type: ignore[arg-type]


def stages_done(cohort: SmallCohort, **options: object) -> dict[str, tuple[str, ...]]:
    """Which stages a run computes, by slide."""
    runner = Runner(load_config(cohort.write()), RunOptions(**options))  # type: ignore[arg-type]
    planned = {}
    for slide in runner.plan():
        assert slide.problem is None, slide.problem
        planned[slide.job.slide_id] = tuple(plan.stage for plan in slide.plans if plan.stage in slide.needed)
    return planned


def test_a_run_leaves_clams_tree_with_clams_names(cohort: SmallCohort) -> None:
    summary = run(cohort)
    assert (summary.processed, summary.failed) == (["s1", "s2", "s3"], {})
    names = set(cohort.outputs())
    for slide in ("s1", "s2", "s3"):
        assert {
            f"raw/E/a/{slide}/{slide}_mask.pkl",
            f"raw/E/a/{slide}/{slide}_mask.jpg",
            f"raw/E/a/{slide}/{slide}_coords.h5",
            f"raw/E/a/{slide}/{slide}_blockmap.h5",
            f"raw/E/a/{slide}/{slide}_blockmap.png",
            f"prod/E/a/{slide}_0.0_roi_0_blur_0_rs_1_bc_0_a_0.4_l_0_bi_0_-1.0.jpg",
            f"prod/E/a/{slide}_orig_0.jpg",
        } <= names
    assert (cohort.raw / "config.yaml").is_file()
    assert "results/list.csv" in names
    sampled = [name for name in names if "sampled_patches/label_a_pred_" in name and "/top/0_s1_x_" in name]
    assert len(sampled) == 1
    assert sampled[0].endswith("_a_100.000.png")


def test_scores_and_prediction_in_the_files_are_the_models(cohort: SmallCohort) -> None:
    import torch

    from mil_heatmaps.checkpoints.load import model_from_checkpoint

    run(cohort)
    model = model_from_checkpoint(cohort.checkpoint)
    with h5py.File(cohort.features / "s1.h5") as file:
        features = file["features"][:]
    with torch.inference_mode():
        results, log = model(torch.from_numpy(features), return_attention=True)
    with h5py.File(cohort.raw / "a" / "s1" / "s1_blockmap.h5") as file:
        np.testing.assert_allclose(file["attention_scores"][:, 0], log["attention"].ravel(), atol=1e-6)
        np.testing.assert_array_equal(file["coords"][:], grid_coords())
    row = cohort.process_list()["s1"]
    probabilities = torch.softmax(results["logits"][0], 0)
    assert row["bag_size"] == str(len(features))
    assert float(row["p_0"]) == pytest.approx(float(probabilities.max()), abs=1e-6)
    assert row["Pred_0"] == "ab"[int(probabilities.argmax())]
    assert (row["status"], row["error"]) == ("processed", "")


def test_a_second_run_does_nothing_at_all(cohort: SmallCohort) -> None:
    run(cohort)
    before = {path: path.stat().st_mtime_ns for path in (cohort.root / "prod").rglob("*.*")}
    record = cohort.record("s1").read_bytes()
    summary = run(cohort)
    assert (summary.processed, summary.reused) == ([], ["s1", "s2", "s3"])
    assert {path: path.stat().st_mtime_ns for path in (cohort.root / "prod").rglob("*.*")} == before
    assert cohort.record("s1").read_bytes() == record


def test_a_second_run_does_not_load_the_model(cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch) -> None:
    run(cohort)
    monkeypatch.setattr("mil_heatmaps.stages.model_source.ModelSource.load", lambda *_: pytest.fail("loaded"))
    assert run(cohort).reused == ["s1", "s2", "s3"]


def test_another_colormap_redraws_and_infers_nothing(cohort: SmallCohort) -> None:
    run(cohort)
    cohort.config["heatmap_arguments"]["cmap"] = "viridis"
    assert stages_done(cohort) == dict.fromkeys(("s1", "s2", "s3"), ("heatmap",))


def test_another_checkpoint_infers_again_and_what_follows_from_it(cohort: SmallCohort) -> None:
    run(cohort)
    write_abmil(cohort.checkpoint, seed=1)
    assert all("attention" in done and "segment" not in done for done in stages_done(cohort).values())
    summary = run(cohort)
    assert set(summary.stage_seconds) == {"attention", "heatmap", "samples"}


def test_a_checkpoint_copied_anew_is_the_same_checkpoint(cohort: SmallCohort) -> None:
    run(cohort)
    data = cohort.checkpoint.read_bytes()
    cohort.checkpoint.unlink()
    cohort.checkpoint.write_bytes(data)
    assert run(cohort).reused == ["s1", "s2", "s3"]


def test_other_features_of_one_slide_redo_that_slide_only(cohort: SmallCohort) -> None:
    run(cohort)
    write_features(cohort.features / "s2.h5", 99)
    summary = run(cohort)
    assert (summary.processed, summary.reused) == (["s2"], ["s1", "s3"])


def test_other_segmentation_with_the_same_outline_redraws_nothing(cohort: SmallCohort) -> None:
    run(cohort)
    cohort.config["segmentation_arguments"]["max_n_holes"] = 9
    assert set(run(cohort).stage_seconds) == {"segment"}


def test_a_deleted_picture_is_drawn_again(cohort: SmallCohort) -> None:
    run(cohort)
    before = cohort.outputs()
    next((cohort.production / "a").glob("s1_0.0*.jpg")).unlink()
    assert set(run(cohort).stage_seconds) == {"heatmap"}
    assert cohort.outputs() == before


def test_samples_of_an_old_setting_do_not_stay_behind(cohort: SmallCohort) -> None:
    run(cohort)
    cohort.config["sample_arguments"]["samples"] = [{"name": "top", "k": 1}]
    run(cohort)
    assert len(list(cohort.production.glob("sampled_patches/*/top/*_s1_x_*.png"))) == 1


def test_runs_are_deterministic(tmp_path: Path) -> None:
    first, second = make_small_cohort(tmp_path / "one"), make_small_cohort(tmp_path / "two")
    run(first)
    run(second)
    assert first.outputs() == second.outputs()


def test_rerun_all_does_every_stage_again_with_the_same_result(cohort: SmallCohort) -> None:
    run(cohort)
    before = cohort.outputs()
    summary = run(cohort, rerun="all")
    assert set(summary.stage_seconds) == {"segment", "coords", "attention", "heatmap", "samples"}
    assert cohort.outputs() == before


def test_limit_and_slides_choose_rows_and_the_others_stay_to_be_done(cohort: SmallCohort) -> None:
    assert run(cohort, slides=("s2",)).processed == ["s2"]
    assert [row["status"] for row in cohort.process_list().values()] == ["tbp", "processed", "tbp"]
    assert run(cohort, limit=1).processed == ["s1"]


def test_stages_run_alone_and_say_what_they_lack(cohort: SmallCohort) -> None:
    assert set(run(cohort, stages=("segment", "coords")).stage_seconds) == {"segment", "coords"}
    assert "run the stage 'attention' first" in run(cohort, stages=("heatmap",)).failed["s1"]
    assert set(run(cohort, from_stage="attention").stage_seconds) == {"attention", "heatmap", "samples"}


def test_a_score_file_of_another_program_is_drawn_by_the_later_stages(cohort: SmallCohort) -> None:
    run(cohort)
    before = cohort.outputs()
    path = cohort.raw / "a" / "s1" / "s1_blockmap.h5"
    with h5py.File(path, "w") as file:
        file["coords"] = grid_coords()
        file["attention_scores"] = np.arange(len(grid_coords()), dtype=np.float32)[:, None]
    summary = run(cohort, from_stage="heatmap")
    assert summary.processed == ["s1"]
    assert cohort.outputs()["prod/E/a/s1_orig_0.jpg"] == before["prod/E/a/s1_orig_0.jpg"]
    assert next(cohort.production.glob("sampled_patches/*/top/0_s1_x_*.png")).name == "0_s1_x_896_y_640_a_100.000.png"


def test_one_colour_scale_for_the_cohort_changes_pictures_but_not_scores(cohort: SmallCohort) -> None:
    cohort.config["heatmap_arguments"].update({"normalize": "minmax", "save_ext": "png"})
    run(cohort)
    before = cohort.outputs()
    cohort.config["heatmap_arguments"]["scale"] = "cohort"
    assert run(cohort).processed == ["s1", "s2", "s3"]
    after = cohort.outputs()
    changed = {name for name in before if before[name] != after.get(name)}
    assert any(name.endswith(".png") and name.startswith("prod") for name in changed)
    assert not any(name.endswith("blockmap.h5") for name in changed)
    assert run(cohort).reused == ["s1", "s2", "s3"]


def test_colours_sit_on_tissue_where_the_scores_are_high(cohort: SmallCohort) -> None:
    cohort.config["heatmap_arguments"].update({"save_ext": "png", "alpha": 1.0, "cmap": "gray", "blank_canvas": True})
    run(cohort)
    picture = np.asarray(Image.open(next((cohort.production / "a").glob("s1_0.0*.png"))))
    assert picture.shape == (768, 1024, 3)
    assert (picture[2, 2] == 255).all()  # glass stays glass
    with h5py.File(cohort.raw / "a" / "s1" / "s1_blockmap.h5") as file:
        scores, coords = file["attention_scores"][:, 0], file["coords"][:]
    # The middle of the left piece of tissue lies in one patch; its grey is its percentile.
    x, y = int(0.28 * 1024), int(0.35 * 768)
    patch = int(np.flatnonzero((coords == [x // 128 * 128, y // 128 * 128]).all(axis=1))[0])
    percentile = (np.sum(scores < scores[patch]) + (np.sum(scores == scores[patch]) + 1) / 2) / len(scores)
    assert picture[y, x, 0] == min(int(percentile * 256), 255)


def test_an_experiment_that_was_moved_is_still_done(cohort: SmallCohort) -> None:
    run(cohort)
    moved = cohort.root / "elsewhere"
    moved.mkdir()
    for name in ("raw", "prod"):
        os.rename(cohort.root / name, moved / name)
        cohort.config["exp_arguments"][{"raw": "raw_save_dir", "prod": "production_save_dir"}[name]] = str(moved / name)
    assert run(cohort).reused == ["s1", "s2", "s3"]


def test_the_record_tells_what_each_stage_depended_on(cohort: SmallCohort) -> None:
    run(cohort)
    record = json.loads(cohort.record("s1").read_text())
    assert list(record["stages"]) == ["attention", "coords", "heatmap", "samples", "segment"]
    assert record["stages"]["heatmap"]["inputs"]["drawing"]["alpha"] == 0.4
    assert record["summary"]["bag_size"] == 48


def test_another_output_folder_is_filled_and_the_old_one_kept(cohort: SmallCohort) -> None:
    run(cohort)
    before = cohort.outputs()
    cohort.config["exp_arguments"]["production_save_dir"] = str(cohort.root / "prod2")
    assert set(run(cohort).stage_seconds) == {"heatmap", "samples"}
    new = {path.name for path in (cohort.root / "prod2").rglob("*") if path.is_file()}
    assert new == {Path(name).name for name in before if name.startswith("prod/")}
    assert {name: value for name, value in cohort.outputs().items() if name.startswith("prod/")} == {
        name: value for name, value in before.items() if name.startswith("prod/")
    }


def test_a_slide_that_was_scanned_again_is_scored_again(cohort: SmallCohort) -> None:
    from tests.helpers.slides import make_tiled_pyramid

    run(cohort)
    make_tiled_pyramid(cohort.slides / "s1.tif", (1100, 800), downsamples=(1, 4), mpp=0.25)
    run(cohort)
    with h5py.File(cohort.raw / "a" / "s1" / "s1_blockmap.h5") as file:
        assert (file["scores"].attrs["level0_width"], file["scores"].attrs["level0_mpp"]) == (1100, 0.25)


def test_some_stages_alone_leave_the_slide_to_be_done(cohort: SmallCohort) -> None:
    run(cohort, stages=("segment", "coords", "attention"))
    assert {row["status"] for row in cohort.process_list().values()} == {"tbp"}
    run(cohort)
    assert {row["status"] for row in cohort.process_list().values()} == {"processed"}


def test_pictures_under_other_parameters_names_stay(cohort: SmallCohort) -> None:
    run(cohort)
    cohort.config["heatmap_arguments"]["alpha"] = 0.6
    run(cohort)
    assert len(list((cohort.production / "a").glob("s1_0.0*.jpg"))) == 2


def test_slides_are_named_with_or_without_extension(cohort: SmallCohort) -> None:
    cohort.rows[0]["slide_id"] = "s1.tif"
    assert run(cohort, slides=("s1.tif",)).processed == ["s1"]
    assert run(cohort, slides=("s1",)).reused == ["s1"]


def test_scores_for_and_against_a_class_are_drawn_around_zero_unless_told_otherwise(tmp_path: Path) -> None:
    cohort = make_small_cohort(tmp_path, {"heatmap_arguments": {"score": "class_contribution", "save_ext": "png",
                               "alpha": 1.0, "blank_canvas": True, "segment": False}})  # fmt: skip
    run(cohort)
    scores = read_scores(cohort.raw / "a" / "s1" / "s1_blockmap.h5")
    column = scores.scores.values[:, scores.prediction.predicted].astype(float)  # type: ignore[union-attr]
    low, high = np.quantile(column, [0.01, 0.99])
    reach = max(abs(low), abs(high))
    places = np.clip((column + reach) / (2 * reach), 0, 1)
    picture = np.asarray(Image.open(next((cohort.production / "a").glob("s1_*_s_class_contribution.png"))))
    table = colour_table("BrBG_r")
    for (x, y), place in zip(scores.grid.coords_l0, places, strict=True):
        assert picture[y + 64, x + 64].tolist() == table[min(int(place * 256), 255)].tolist()
    ranked = {"normalize": "percentile", "cmap": "jet"}
    cohort.config["heatmap_arguments"].update(ranked)
    run(cohort)
    picture = np.asarray(Image.open(next((cohort.production / "a").glob("s1_*_s_class_contribution.png"))))
    x, y = scores.grid.coords_l0[int(np.argmax(column))]
    assert picture[y + 64, x + 64].tolist() == colour_table("jet")[-1].tolist()


def test_outlines_and_both_maps_decode_their_level_once(
    cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mil_heatmaps.slides.level_reader import LevelReader

    cohort.config["heatmap_arguments"].update(vis_level=-1)
    decoded: list[tuple[str, int]] = []
    decode = LevelReader.rows

    def counted(reader: LevelReader, level: int, y0: int, y1: int, threads: int) -> Any:
        decoded.append((reader.path.name, level))
        return decode(reader, level, y0, y1, threads)

    monkeypatch.setattr(LevelReader, "rows", counted)
    assert run(cohort).exit_code == 0
    assert decoded
    assert len(decoded) == len(set(decoded))
