"""Flags of `generate_heatmaps.py` for a small cohort, and the contents of its output folder."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.helpers.cohort import SmallCohort


def flags(cohort: SmallCohort, *more: str) -> list[str]:
    """Return the flags of a run into the folder `O`."""
    return [
        "--checkpoint", str(cohort.checkpoint), "--h5_dir", str(cohort.features), "--slide_dir", str(cohort.slides),
        "--output_dir", str(cohort.root / "O"), *more,
    ]  # fmt: skip


def table(folder: Path) -> dict[str, dict[str, str]]:
    """Return the rows of the results, by slide."""
    with (folder / "heatmap_results.csv").open(newline="") as file:
        return {row["slide_id"]: row for row in csv.DictReader(file)}


def pictures(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every heatmap, by file name."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*_heatmap*.png"))}
