"""What a dry run says of coordinates: unit and frame, without reading them."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import h5py
import numpy as np
import pytest
import torch

from mil_heatmaps.errors import FeatureError
from mil_heatmaps.notices import Notice
from mil_heatmaps.slides.slide_space import SlideSpace
from mil_heatmaps.stages.base import SlideWork
from mil_heatmaps.stages.told_coordinates import told_coordinates
from tests.helpers.features import grid_coords, numbers, write

SCANNED = SlideSpace((9000, 8000), (3000, 2000, 1280, 1024), mpp=0.5)
AS_SHOWN = "counted from the slide's corner or the scanned area's (bounds), as they show when they are read"


@dataclass
class Work:
    space: SlideSpace
    patches_path: Path | None = None
    scores: Path | None = None
    tissue: Path | None = None
    found: tuple[Notice, ...] = ()
    job: Any = field(init=False)
    record: Any = field(init=False)
    config: Any = None

    def __post_init__(self) -> None:
        self.job = SimpleNamespace(scores_path=self.scores, tissue_path=self.tissue)
        self.record = SimpleNamespace(notices=lambda: self.found)

    def told(self, *needed: str) -> list[str]:
        return told_coordinates(cast(SlideWork, self), frozenset(needed))


def test_unit_and_frame_are_told_of_features(tmp_path: Path) -> None:
    plain = write(tmp_path / "s.h5", numbers(), grid_coords(), {"patch_size_level0": 256})
    assert Work(SlideSpace((9000, 8000)), plain).told("coords") == [
        "s.h5: coordinates are px, counted from the slide's corner"
    ]
    assert Work(SCANNED, plain).told("attention") == [f"s.h5: coordinates are px, {AS_SHOWN}"]
    said = {"unit": "um", "level0_width": 1280, "level0_height": 1024}
    stamp = write(tmp_path / "t.h5", numbers(), grid_coords(), said)
    assert Work(SCANNED, stamp).told("coords") == [
        "t.h5: coordinates are µm (as the file says), 0.5 µm per pixel, counted from the scanned area (bounds) at "
        "(3000, 2000)"
    ]
    with pytest.raises(FeatureError, match=r"resolution \(mpp\) is not known"):
        Work(SlideSpace((9000, 8000)), stamp).told("coords")


def test_unit_and_frame_are_told_of_tables_and_outlines(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("x_um,y_um,score\n0,0,1\n")
    work = Work(SCANNED, scores=tmp_path / "s.csv", tissue=tmp_path / "s.geojson")
    assert work.told("attention", "segment") == [
        f"s.csv: coordinates are µm (as the file says), 0.5 µm per pixel, {AS_SHOWN}", f"s.geojson: {AS_SHOWN}",
    ]  # fmt: skip
    assert work.told("heatmap") == []


def test_feats_without_a_word_on_units_are_not_guessed_at(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", numbers(), grid_coords(step=224))
    with h5py.File(path, "r+") as file:
        file.move("features", "feats")
    (line,) = Work(SlideSpace((9000, 8000), mpp=0.5), path).told("coords")
    assert line.startswith("s.h5: coordinates are in a unit that shows when they are read")


def test_what_a_finished_slide_was_found_to_be_is_told_from_its_record() -> None:
    found = (Notice("units", "coordinates are µm"), Notice("encoder", "other"), Notice("frame", "moved"))
    assert Work(SCANNED, found=found).told() == ["coordinates are µm", "moved"]


def test_centres_of_slideflow_are_told_or_refused_before_any_work(tmp_path: Path) -> None:
    torch.save(torch.zeros(2, 8), tmp_path / "s.pt")
    np.savez(tmp_path / "s.index.npz", np.array([[64, 64], [192, 64]]))
    work = Work(SlideSpace((9000, 8000), mpp=0.5), tmp_path / "s.pt")
    work.config = SimpleNamespace(data_arguments=SimpleNamespace(patch_size_level0=None))
    with pytest.raises(FeatureError, match=r"bags_config\.json"):
        work.told("coords")
    (tmp_path / "bags_config.json").write_text('{"tile_px": 96, "tile_um": 64}')
    assert work.told("coords") == [
        "s.pt: coordinates are centres of tiles of 128 px (slideflow), counted from the slide's corner"
    ]
