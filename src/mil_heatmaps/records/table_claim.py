"""Which run a table in `results_dir` belongs to: two runs never write the same one.

A run has a name of its own, a random text in ``R/E/.run_id``. The table ``list.csv`` belongs to the run whose name
stands in ``.list.csv.run`` beside it. A table without that file was written by an earlier version or by hand; it
belongs to no run and is kept. Copies and moves of both folders keep what belongs together.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.records.flat_layout import FlatLayout
from mil_heatmaps.records.layout import ExperimentLayout


def claim_table(layout: ExperimentLayout) -> tuple[ExperimentLayout, str | None]:
    """Return the layout with this run's own table of results, and a sentence if the table has another name.

    The first choice is ``<list>.csv``, then ``<list>_<experiment>.csv``, then the same with a number. The flat layout
    has one table beside its pictures, which keeps the rows of earlier runs.
    """
    if isinstance(layout, FlatLayout):
        return layout, None
    wanted, name = layout.results_csv, _run_id(layout.raw_root)
    for table in _choices(wanted, layout.raw_root.name):
        if _claim(table, name):
            if table == wanted:
                return layout, None
            kept = f"{wanted.name} in {wanted.parent} belongs to another run and is kept"
            return replace(layout, results_csv=table), f"{kept}: predictions are in {table.name}"
    raise AssertionError  # the choices have no end


def own_table(layout: ExperimentLayout, wanted: Path) -> Path:
    """Return `wanted`, or a table with another name if `wanted` belongs to another run."""
    if isinstance(layout, FlatLayout):
        return wanted
    name = _run_id(layout.raw_root)
    return next(table for table in _choices(wanted, layout.raw_root.name) if _claim(table, name))


def _choices(wanted: Path, experiment: str) -> Iterator[Path]:
    yield wanted
    own = wanted.with_name(f"{wanted.stem}_{experiment}.csv")
    yield own
    for number in count(2):
        yield own.with_name(f"{own.stem}_{number}.csv")


def _run_id(raw_root: Path) -> str:
    """Return the run's name, and create it if there is none; several shards may ask at once."""
    path = raw_root / ".run_id"
    found = _first_written(path, secrets.token_hex(16))
    if not found:  # a kill between making the file and filling it
        found = secrets.token_hex(16)
        write_text(path, found)
    return found


def _claim(table: Path, name: str) -> bool:
    """Whether the table is this run's: it was before, or there is no table yet and no other run claims it."""
    sign = table.with_name(f".{table.name}.run")
    if table.exists() and not sign.exists():
        return False
    return _first_written(sign, name) == name


def _first_written(path: Path, text: str) -> str:
    """Write `text` unless another process was first; return the file's content, empty if its writer was killed."""
    try:
        with path.open("x", encoding="ascii") as file:
            file.write(text)
        return text
    except FileExistsError:
        for _ in range(20):
            if found := path.read_text(encoding="ascii").strip():
                return found
            time.sleep(0.05)
        return ""
