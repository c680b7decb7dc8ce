"""The fine map between the patches that features or coordinates files bring: read as those were, scored beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from mil_heatmaps.config.config import load_config
from mil_heatmaps.pipeline.runner import Runner, RunSummary
from mil_heatmaps.slides.read_plan import PatchReading
from mil_heatmaps.slides.reader import open_slide
from tests.helpers.cohort import SIZE, SmallCohort, grid_coords, make_small_cohort, write_abmil
from tests.helpers.stub_encoder import create

STUB = "tests.helpers.stub_encoder:create"
WIDTH = 48
PICTURE = 64
"""Pixels of the encoder's picture: those of the small patches here, which larger ones would only repeat."""


def make(tmp_path: Path, **heatmap: Any) -> SmallCohort:
    """One slide with a fine map over the patches of a file that `write_patches` makes."""
    cohort = make_small_cohort(tmp_path)
    write_abmil(cohort.checkpoint, width=WIDTH)
    cohort.config["encoder_arguments"] = {"model_name": STUB, "target_img_size": PICTURE}
    cohort.config["patching_arguments"] = {"overlap": 0.5}
    cohort.config["heatmap_arguments"].update(save_ext="png", calc_heatmap=True, **heatmap)
    cohort.rows = cohort.rows[:1]
    return cohort


def write_patches(
    path: Path, attributes: dict[str, Any], step: int, features: npt.NDArray[np.float32] | None = None, **more: Any
) -> npt.NDArray[np.int64]:
    """Write a file of patches over the whole slide; random features unless there is to be none (`bare`)."""
    coords = grid_coords(SIZE, step)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("coords", data=coords).attrs.update(attributes)
        if not more.get("bare"):
            random = np.random.default_rng(0).normal(size=(len(coords), WIDTH)).astype(np.float32)
            file.create_dataset("features", data=random if features is None else features)
    return coords


def run(cohort: SmallCohort) -> RunSummary:
    return Runner(load_config(cohort.write())).run()


def raw(cohort: SmallCohort, name: str) -> Path:
    return cohort.raw / "a" / "s1" / name


def encoded(slide_path: Path, coords: npt.NDArray[np.int64], reading: PatchReading) -> npt.NDArray[np.float32]:
    """Features of patches read one by one, resized as Pillow does."""
    from mil_heatmaps.slides.resize_patches import resize_patches

    encoder = create(target_img_size=PICTURE)
    with open_slide(slide_path) as slide:
        pixels = np.stack([slide.read_region((x, y), reading.level, reading.read_px) for x, y in coords.tolist()])
    if reading.read_px != reading.patch_px:
        pixels = resize_patches(pixels, reading.patch_px)
    features: npt.NDArray[np.float32] = encoder.encode(encoder.preprocess(pixels)).numpy()
    return features


TRIDENT_10X = {"patch_size": 64, "patch_size_level0": 128.0, "level0_magnification": 20, "target_magnification": 10.0,
               "overlap": 0}  # fmt: skip
TRIDENT_20X = {"patch_size": 128, "patch_size_level0": 128, "level0_magnification": 20, "target_magnification": 20}
TRIDENT_5X = {"patch_size": 32, "patch_size_level0": 128, "level0_magnification": 20, "target_magnification": 5}
CLAM_LEVEL_1 = {"patch_size": 32, "patch_level": 1, "downsample": (4.0, 4.0)}
OWN = {"patch_size": 64, "patch_size_level0": 128, "read_level": 0, "read_size": (128, 128)}


@pytest.mark.parametrize(
    ("attributes", "reading"),
    [
        (TRIDENT_10X, PatchReading(0, (128, 128), (64, 64))),
        (TRIDENT_20X, PatchReading(0, (128, 128), (128, 128))),
        (TRIDENT_5X, PatchReading(1, (32, 32), (32, 32))),
        (CLAM_LEVEL_1, PatchReading(1, (32, 32), (32, 32))),
        (OWN, PatchReading(0, (128, 128), (64, 64))),
    ],
    ids=["trident shrunk", "trident level 0", "trident level 1", "clam", "own"],
)
@pytest.mark.parametrize("brought", ["features", "coordinates"])
def test_patches_are_read_as_the_file_says_its_own_were(
    brought: str, attributes: dict[str, Any], reading: PatchReading, tmp_path: Path
) -> None:
    cohort = make(tmp_path)
    if brought == "features":
        write_patches(cohort.features / "s1.h5", attributes, 128)
    else:
        del cohort.config["data_arguments"]["h5_dir"]
        cohort.config["data_arguments"]["coords_dir"] = str(tmp_path / "coords")
        write_patches(tmp_path / "coords" / "patches" / "s1_patches.h5", attributes, 128, bare=True)
    summary = run(cohort)
    assert summary.failed == {}
    with h5py.File(raw(cohort, "s1_0.5_roi_False_features.h5")) as fine:
        coords, features = fine["coords"][:], fine["features"][:]
        assert int(fine["coords"].attrs["patch_size_level0"]) == 128
    assert {tuple(c) for c in grid_coords(SIZE, 128).tolist()} <= {tuple(c) for c in coords.tolist()}
    np.testing.assert_allclose(features, encoded(cohort.slides / "s1.tif", coords, reading), atol=1e-5)
    if brought == "coordinates":
        with h5py.File(raw(cohort, "s1.h5")) as bag:
            np.testing.assert_array_equal(bag["coords"][:], grid_coords(SIZE, 128))
            own = encoded(cohort.slides / "s1.tif", bag["coords"][:], reading)
            np.testing.assert_allclose(bag["features"][:], own, atol=1e-5)


def test_a_file_that_does_not_say_its_pixels_takes_the_configs_and_says_so(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    cohort.config["patching_arguments"]["patch_size"] = 64
    write_patches(cohort.features / "s1.h5", {"patch_size_level0": 128}, 128)
    summary = run(cohort)
    assert summary.failed == {}
    assert any("does not say how many pixels" in note and "64 x 64" in note for note in summary.notes["s1"])
    with h5py.File(raw(cohort, "s1_0.5_roi_False_features.h5")) as fine:
        expected = encoded(cohort.slides / "s1.tif", fine["coords"][:], PatchReading(0, (128, 128), (64, 64)))
        np.testing.assert_allclose(fine["features"][:], expected, atol=1e-5)


def test_a_config_that_contradicts_the_file_is_not_followed_and_that_is_said(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    cohort.config["patching_arguments"].update(patch_size=256, patch_level=1)
    write_patches(cohort.features / "s1.h5", TRIDENT_10X, 128)
    summary = run(cohort)
    assert summary.failed == {}
    note = next(note for note in summary.notes["s1"] if "not used" in note)
    assert "patch_size 256, patch_level 1" in note
    assert "64 x 64 pixels that cover 128 x 128" in note
    with h5py.File(raw(cohort, "s1_0.5_roi_False_features.h5")) as fine:
        assert int(fine["coords"].attrs["patch_size"]) == 64


def test_a_config_that_agrees_with_the_file_leaves_no_note(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    cohort.config["patching_arguments"].update(patch_size=64, magnification=10)
    write_patches(cohort.features / "s1.h5", TRIDENT_10X, 128)
    assert not any("not used" in note or "does not say" in note for note in run(cohort).notes["s1"])


@pytest.mark.parametrize("overlap", [0.25, 0.5])
def test_the_map_is_regular_at_any_overlap_and_tells_which_was_drawn(overlap: float, tmp_path: Path) -> None:
    cohort = make(tmp_path)
    cohort.config["patching_arguments"]["overlap"] = overlap
    write_patches(cohort.features / "s1.h5", TRIDENT_20X, 128)
    summary = run(cohort)
    with h5py.File(raw(cohort, f"s1_{overlap}_roi_False.h5")) as fine:
        coords = fine["coords"][:]
        assert fine["scores"].attrs["step_level0"].tolist() == [64, 64]
    np.testing.assert_array_equal(np.unique(coords[:, 0]), np.arange(0, SIZE[0] - 64, 64))
    assert any("overlaps by 0.5, not 0.25" in note for note in summary.notes["s1"]) == (overlap == 0.25)


def test_two_overlaps_that_make_one_grid_are_encoded_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="mil_heatmaps")
    cohort = make(tmp_path)
    write_patches(cohort.features / "s1.h5", TRIDENT_20X, 128)
    for overlap in (0.25, 0.5, 0.7):
        cohort.config["patching_arguments"]["overlap"] = overlap
        assert run(cohort).failed == {}
    first, same, other = (raw(cohort, f"s1_{overlap}_roi_False_features.h5") for overlap in (0.25, 0.5, 0.7))
    assert first.read_bytes() == same.read_bytes() != other.read_bytes()
    told = [message for message in caplog.messages if "encoded" in message or "took the features" in message]
    assert [message.split()[1] for message in told] == ["encoded", "took", "encoded"]
    assert told[1].endswith("from s1_0.25_roi_False_features.h5")
    alone = make(tmp_path / "alone")
    write_patches(alone.features / "s1.h5", TRIDENT_20X, 128)
    run(alone)
    assert same.read_bytes() == raw(alone, same.name).read_bytes()


def test_coordinates_missing_for_a_slide_fail_its_row(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    del cohort.config["data_arguments"]["h5_dir"]
    (tmp_path / "coords").mkdir()
    cohort.config["data_arguments"]["coords_dir"] = str(tmp_path / "coords")
    assert "no coordinates file for 's1'" in run(cohort).failed["s1"]


def test_other_coordinates_are_encoded_again(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    cohort.config["heatmap_arguments"]["calc_heatmap"] = False
    del cohort.config["data_arguments"]["h5_dir"]
    cohort.config["data_arguments"]["coords_dir"] = str(tmp_path / "coords")
    write_patches(tmp_path / "coords" / "s1.h5", TRIDENT_20X, 128, bare=True)
    assert run(cohort).failed == {}
    assert run(cohort).reused == ["s1"]
    write_patches(tmp_path / "coords" / "s1.h5", TRIDENT_10X, 128, bare=True)
    assert "features" in run(cohort).stage_seconds
    with h5py.File(raw(cohort, "s1.h5")) as bag:
        assert int(bag["coords"].attrs["patch_size"]) == 64


def test_training_patches_that_overlap_are_refined_by_their_step(tmp_path: Path) -> None:
    cohort = make(tmp_path, score="attention_softmax")
    cohort.config["patching_arguments"]["overlap"] = 0.75
    write_patches(cohort.features / "s1.h5", {**TRIDENT_20X, "overlap": 64}, 64)
    summary = run(cohort)
    assert summary.failed == {}
    with h5py.File(raw(cohort, "s1_0.75_roi_False.h5")) as fine:
        assert fine["scores"].attrs["step_level0"].tolist() == [32, 32]
        assert b"4 bags" in fine["scores"].attrs["scored_as"]


def figure_words(cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every text of the figure that a run draws."""
    from matplotlib.text import Text

    found: list[str] = []
    draw = Text.draw

    def listening(text: Text, *args: Any, **options: Any) -> None:
        found.append(text.get_text())
        draw(text, *args, **options)

    monkeypatch.setattr(Text, "draw", listening)
    cohort.config["heatmap_arguments"]["figure"] = True
    cohort.config["run_arguments"] = {"workers": 1}
    assert run(cohort).failed == {}
    return "\n".join(found)


def test_the_figure_says_what_ranked_the_map_and_how_it_was_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = make(tmp_path)
    cohort.config["patching_arguments"]["overlap"] = 0.25
    write_patches(cohort.features / "s1.h5", TRIDENT_20X, 128)
    words = figure_words(cohort, monkeypatch)
    assert "percentile among the slide's 48 coarse patches" in words
    assert "percentiles as given" not in words
    assert "patches overlap by 50% (25% was asked), each patch scored on its own" in words


def test_the_figure_says_when_patches_were_scored_in_the_bags_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = make(tmp_path, score="attention_softmax", use_roi=True)
    cohort.rows[0].update(x1="100", y1="100", x2="500", y2="400")
    write_patches(cohort.features / "s1.h5", TRIDENT_20X, 128)
    words = figure_words(cohort, monkeypatch)
    assert "percentile among the slide's 48 coarse patches" in words
    assert "scored in 4 bags, each set without overlap in the place of the bag's own patches" in words


def test_features_of_another_encoder_are_pointed_out(tmp_path: Path) -> None:
    cohort = make(tmp_path)
    write_patches(cohort.features / "s1.h5", {**TRIDENT_20X, "encoder": "uni_v2"}, 128)
    assert any("made with uni_v2, the fine map with stub" in note for note in run(cohort).notes["s1"])


def test_a_region_is_coloured_to_its_edges_and_as_in_the_map_of_the_whole_slide(tmp_path: Path) -> None:
    from PIL import Image

    cohort = make(tmp_path, segment=False)
    write_patches(cohort.features / "s1.h5", TRIDENT_20X, 128)
    assert run(cohort).failed == {}
    cohort.config["heatmap_arguments"]["use_roi"] = True
    cohort.rows[0].update(x1="100", y1="70", x2="500", y2="401")
    assert run(cohort).failed == {}
    whole, region = (
        np.asarray(Image.open(next(cohort.production.glob(f"a/s1_0.5_roi_{roi}_*.png")))) for roi in (0, 1)
    )
    np.testing.assert_array_equal(region, whole[70:401, 100:500])


@pytest.mark.parametrize(("patch_size", "said"), [(64, False), (32, True)])
def test_clams_grid_of_other_patches_than_the_features_is_pointed_out(
    patch_size: int, said: bool, tmp_path: Path
) -> None:
    cohort = make(tmp_path)
    cohort.config["patching_arguments"].update(grid="clam", patch_size=patch_size, magnification=10)
    write_patches(cohort.features / "s1.h5", TRIDENT_10X, 128)
    summary = run(cohort)
    assert summary.failed == {}
    assert any("unlike those of s1.h5 (64 x 64 pixels" in note for note in summary.notes["s1"]) == said
