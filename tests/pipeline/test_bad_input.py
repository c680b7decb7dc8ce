"""Whatever is wrong with one slide fails that row with a clear message, and the others are done."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mil_heatmaps.cli.summary import summary_text
from mil_heatmaps.config.config import load_config
from mil_heatmaps.errors import ConfigError, HeatmapError
from mil_heatmaps.pipeline.runner import Runner, RunSummary
from tests.helpers.cohort import SmallCohort, grid_coords, make_small_cohort, write_abmil, write_features
from tests.helpers.slides import make_blank

Breakage = Callable[[SmallCohort], None]


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    return make_small_cohort(tmp_path)


def run(cohort: SmallCohort) -> RunSummary:
    return Runner(load_config(cohort.write())).run()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def nan_features(cohort: SmallCohort) -> None:
    features = np.ones((48, 16), np.float32)
    features[7, 3] = np.nan
    write_features(cohort.features / "s2.h5", 0, features=features)


def blank(cohort: SmallCohort) -> None:
    (cohort.slides / "s2.svs").unlink()
    make_blank(cohort.slides / "s2.tif")


BREAKAGES: dict[str, tuple[Breakage, str]] = {
    "missing slide": (lambda c: (c.slides / "s2.svs").unlink(), "no slide for 's2'"),
    "no slide at all in the file": (lambda c: (c.slides / "s2.svs").write_bytes(b"II*\0nothing"), "s2.svs"),
    "truncated slide": (lambda c: truncate(c.slides / "s2.svs"), "s2.svs"),
    "missing features": (lambda c: (c.features / "s2.h5").unlink(), "no feature file for 's2'"),
    "truncated features": (lambda c: truncate(c.features / "s2.h5"), "s2.h5"),
    "features of another length": (
        lambda c: write_features(c.features / "s2.h5", 0, features=np.ones((40, 16), np.float32)),
        "40 rows of features but 48 coordinates",
    ),
    "features of another width": (
        lambda c: write_features(c.features / "s2.h5", 0, width=24),
        "features are 24 wide, the model (abmil) expects 16",
    ),
    "NaN in the features": (nan_features, "NaN"),
    "no patches": (
        lambda c: write_features(
            c.features / "s2.h5", 0, coords=np.empty((0, 2), np.int64), features=np.empty((0, 16), np.float32)
        ),
        "s2.h5",
    ),
    "features of another slide": (
        lambda c: write_features(c.features / "s2.h5", 0, coords=grid_coords() + 50_000), "outside",
    ),
    "blank slide": (blank, "no tissue in s2.tif"),
    "unknown label": (lambda c: c.rows[1].update(label="c"), "unknown label 'c'"),
    "path in the slide_id": (lambda c: c.rows[1].update(slide_id="../s2"), "path separator"),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKAGES)
def test_one_bad_slide_fails_alone(cohort: SmallCohort, name: str) -> None:
    breakage, message = BREAKAGES[name]
    breakage(cohort)
    summary = run(cohort)
    assert summary.processed == ["s1", "s3"]
    assert len(summary.failed) == 1
    assert message in next(iter(summary.failed.values()))
    assert summary.exit_code == 1
    row = list(cohort.process_list().values())[1]
    assert row["status"] == "failed"
    assert message in row["error"]
    assert row["failed_stage"]
    assert "\n" not in row["error"]
    outside = [path for path in cohort.root.rglob("*s2*") if not path.is_relative_to(cohort.root / "raw")]
    assert not [path for path in outside if "prod" in path.parts and path.suffix != ".jpg"]


def test_a_failed_row_is_taken_again_when_mended_and_forgets_its_error(cohort: SmallCohort) -> None:
    nan_features(cohort)
    run(cohort)
    log = cohort.record("s2").with_name("error.log")
    assert "Traceback" in log.read_text()
    write_features(cohort.features / "s2.h5", 2)
    runner = Runner(load_config(cohort.write()))
    runner = Runner(load_config(cohort.write()), type(runner.options)(rerun="failed"))
    assert runner.run().processed == ["s2"]
    assert not log.exists()
    row = cohort.process_list()["s2"]
    assert (row["status"], row["error"], row["failed_stage"]) == ("processed", "", "")


def test_a_slide_that_is_listed_twice_is_done_once_and_said(cohort: SmallCohort) -> None:
    cohort.rows.append(dict(cohort.rows[0]))
    summary = run(cohort)
    assert summary.processed == ["s1", "s2", "s3"]
    assert list(summary.failed.values()) == ["slide_id 's1' is in the list already (line 2)"]


def test_a_level_deeper_than_the_pyramid_is_clamped_and_said(cohort: SmallCohort) -> None:
    cohort.config["heatmap_arguments"]["vis_level"] = 1
    summary = run(cohort)
    assert summary.failed == {}
    assert any("level 1 is not in s3.tif" in note for note in summary.notes["s3"])


def test_a_blank_slide_is_drawn_when_colours_need_no_tissue(cohort: SmallCohort) -> None:
    blank(cohort)
    write_features(cohort.features / "s2.h5", 2)
    cohort.config["heatmap_arguments"]["segment"] = False
    summary = run(cohort)
    assert summary.failed == {}
    assert "no tissue in s2.tif" in summary.notes["s2"]


def test_an_unexpected_error_keeps_its_type_in_the_list_and_its_traceback_in_the_log(
    cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mil_heatmaps.stages.samples import SamplesStage

    def burst(self: SamplesStage, work: object) -> None:
        raise ZeroDivisionError("odd")

    monkeypatch.setattr(SamplesStage, "run", burst)
    summary = run(cohort)
    assert summary.failed["s1"] == "samples: unexpected ZeroDivisionError: odd"
    assert "ZeroDivisionError" in cohort.record("s1").with_name("error.log").read_text()


def test_a_full_disk_fails_the_slide_and_leaves_no_half_file(
    cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mil_heatmaps.files.atomic

    real = os.replace

    def full(source: str, target: str) -> None:
        if "s2_blockmap.png" in str(target):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(mil_heatmaps.files.atomic.os, "replace", full)
    summary = run(cohort)
    assert "No space left on device" in summary.failed["s2"]
    assert summary.processed == ["s1", "s3"]
    assert not list(cohort.root.rglob("*.partial*"))
    monkeypatch.undo()
    assert run(cohort).processed == ["s2"]


def test_an_output_folder_that_cannot_be_written_stops_before_any_work(cohort: SmallCohort) -> None:
    (cohort.root / "raw").write_text("a file where a folder should be")
    with pytest.raises(ConfigError, match="cannot write to"):
        run(cohort)


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("model_arguments", "ckpt_path", "nowhere.pt", "nowhere.pt"),
        ("exp_arguments", "n_classes", 3, "label_dict"),
        ("heatmap_arguments", "alpha", 1.5, "alpha"),
        ("heatmap_arguments", "cmap", "jett", "jet"),
        ("heatmap_arguments", "score", "magic", "choose from"),
        ("data_arguments", "data_dir", "nowhere", "nowhere"),
        ("model_arguments", "device", "cuda:99", "cuda:99"),
        ("model_arguments", "model_name", "abmil.base.uni_v2.none", "1536"),
    ],
)
def test_a_bad_config_stops_before_any_work(
    cohort: SmallCohort, section: str, key: str, value: object, message: str
) -> None:
    cohort.config[section][key] = value
    with pytest.raises(HeatmapError, match=message):
        run(cohort)
    assert not list((cohort.root / "prod").rglob("*.jpg"))
    assert not list((cohort.root / "raw").rglob("*.pkl"))


@pytest.mark.parametrize("classes", [3, 5])
def test_a_checkpoint_of_another_class_count_stops_before_any_work(cohort: SmallCohort, classes: int) -> None:
    write_abmil(cohort.checkpoint, classes=classes)
    with pytest.raises(HeatmapError, match=f"{classes} classes"):
        run(cohort)
    assert not list((cohort.root / "raw").rglob("*.pkl"))


def test_a_checkpoint_that_would_run_code_is_refused_unrun(cohort: SmallCohort) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(cohort.root / "boom"),)

    cohort.checkpoint.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(HeatmapError, match=r"abmil\.pt"):
        run(cohort)
    assert not (cohort.root / "boom").exists()


def test_a_mask_pickle_that_would_run_code_fails_its_slide_unrun(cohort: SmallCohort) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(cohort.root / "boom"),)

    tissue = cohort.root / "tissue"
    tissue.mkdir()
    (tissue / "s2_mask.pkl").write_bytes(pickle.dumps({"tissue": Bomb(), "holes": []}))
    cohort.config["data_arguments"]["tissue_dir"] = str(tissue)
    summary = run(cohort)
    assert "s2_mask.pkl" in summary.failed["s2"]
    assert summary.processed == ["s1", "s3"]
    assert not (cohort.root / "boom").exists()


def test_outlines_from_a_mask_pickle_replace_segmentation(cohort: SmallCohort) -> None:
    run(cohort)
    tissue = cohort.root / "tissue"
    tissue.mkdir()
    shutil.copy(cohort.raw / "a" / "s1" / "s1_mask.pkl", tissue / "s1_mask.pkl")
    before = cohort.outputs()
    cohort.config["data_arguments"]["tissue_dir"] = str(tissue)
    cohort.config["segmentation_arguments"]["a_t"] = 10_000
    summary = run(cohort)
    assert summary.processed == ["s1"]
    assert cohort.outputs()["raw/E/a/s1/s1_mask.pkl"] == before["raw/E/a/s1/s1_mask.pkl"]
    assert "no tissue" in summary.failed["s2"]


def test_tissue_too_small_for_the_built_in_limits_is_found_and_said(cohort: SmallCohort) -> None:
    del cohort.config["segmentation_arguments"]
    summary = run(cohort)
    assert summary.failed == {}
    assert any("below the usual a_t of 50" in note for note in summary.notes["s1"])
    told = [line for line in summary_text(summary).splitlines() if "a_t" in line]
    assert len(told) == 1  # of all slides together
    assert told[0].startswith("  note    s1 and 2 more: the largest piece of tissue is below the usual a_t")


def test_a_limit_somebody_chose_is_kept_and_the_message_names_a_number_that_would_do(cohort: SmallCohort) -> None:
    cohort.config["segmentation_arguments"] = {"a_t": 50}
    reason = run(cohort).failed["s1"]
    assert "the largest piece is" in reason
    assert "would keep it" in reason
