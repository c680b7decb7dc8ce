"""Incomplete files in the folders of results over several slides are removed by whatever writes there next."""

from __future__ import annotations

from pathlib import Path

import pytest

from mil_heatmaps.encoders.feature_cache import FeatureCache
from mil_heatmaps.files.atomic import writer
from mil_heatmaps.records.flat_layout import FlatLayout
from mil_heatmaps.records.layout import ExperimentLayout
from mil_heatmaps.viewer.reader_notes import ReaderNotes

KILLED = f"{writer().partition('-')[0]}-999999999"


def halves_in(folder: Path) -> tuple[Path, Path]:
    """Return a file that a killed process has left, and one that a process is still writing."""
    folder.mkdir(parents=True)
    left, in_work = folder / f".a.{KILLED}-0123abcd.partial.png", folder / f".a.{writer()}-0123abcd.partial.png"
    left.touch()
    in_work.touch()
    return left, in_work


@pytest.mark.parametrize("flat", [False, True])
def test_folders_beside_those_of_slides_are_cleared(tmp_path: Path, flat: bool) -> None:
    layout: ExperimentLayout = (
        FlatLayout.at(str(tmp_path / "work"), str(tmp_path), str(tmp_path))
        if flat
        else ExperimentLayout.of(str(tmp_path / "raw"), str(tmp_path / "prod"), str(tmp_path), "E", None)
    )
    folders = (layout.insight, layout.consensus, layout.spots, layout.clusters, layout.raw_root / "cases" / "c")
    made = [halves_in(folder) for folder in folders]
    layout.clear_beside_slides()
    assert [left.name for left, _ in made if left.exists()] == []
    assert all(in_work.exists() for _, in_work in made)


def test_the_cache_of_features_and_the_folder_of_marks_are_cleared(tmp_path: Path) -> None:
    left, in_work = halves_in(tmp_path / "cache" / "ab")
    assert FeatureCache(tmp_path / "cache").take("abcd", 1, tmp_path / "out.h5") is None
    assert (left.exists(), in_work.exists()) == (False, True)
    left, in_work = halves_in(tmp_path / "marks")
    ReaderNotes(tmp_path / "marks")
    assert (left.exists(), in_work.exists()) == (False, True)
