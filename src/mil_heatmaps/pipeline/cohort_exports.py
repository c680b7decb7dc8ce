"""Exports that a run writes once, besides those of its slides: QuPath's script, and all slides in one AnnData file."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from mil_heatmaps.choices import SUM
from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.atomic import write_json
from mil_heatmaps.records.layout import safe_name
from mil_heatmaps.words import reason_of

if TYPE_CHECKING:
    from mil_heatmaps.cohort.run_options import RunSummary
    from mil_heatmaps.config.config import Config

COHORT_H5AD = "cohort.h5ad"
logger = logging.getLogger(__name__)


def export_cohort(summary: RunSummary, config: Config) -> None:
    """Write those that `export_arguments` asks for; put their paths, and any errors, into the summary.

    Each holds the slides that have their own export and whose last run did not fail, in the order of the list.
    """
    exports, folder = config.export_arguments, summary.cohort.layout.production_root
    bags = (*config.bags[1:], SUM) if len(config.bags) > 1 else ()
    files: list[tuple[Path, Callable[[Path], bool]]] = []
    if exports.geojson is not None:
        from mil_heatmaps.export.qupath import NAME

        files.append((folder / NAME, lambda path: _script(path, folder, bags)))
    if exports.anndata is not None and exports.anndata.cohort:
        files.append((folder / COHORT_H5AD, lambda path: _joined(path, summary, "")))
        for end in (f"_{safe_name(bag)}" for bag in bags):
            files.append((folder / f"cohort{end}.h5ad", partial(_joined, summary=summary, end=end)))
    for path, write in files:
        try:
            with FileLock(summary.cohort.layout.list_lock):
                if write(path):
                    summary.exports.append(path)
        except (OSError, HeatmapError) as error:  # every slide's own file holds the same
            summary.refused_exports.append(f"{path.name} was not written: {reason_of(error)}")
            logger.error("cannot write %s: %s", path, reason_of(error))


def _script(path: Path, folder: Path, bags: Sequence[str]) -> bool:
    from mil_heatmaps.export.qupath import write_qupath_script

    write_qupath_script(path, folder, [safe_name(bag) for bag in bags])
    return True


def _joined(path: Path, summary: RunSummary, end: str) -> bool:
    """Join the slides' files whose names end in `end`; return whether there is a joined file.

    A file that was joined from the same parts stays.
    """
    from mil_heatmaps.export.anndata_file import anndata_module, join_h5ad

    anndata_module()
    jobs = summary.cohort.jobs.items()
    parts = [job.paths.export(f"{end}.h5ad") for slide_id, job in jobs if slide_id not in summary.failed]
    parts = [part for part in parts if part.is_file()]
    if not parts:
        return False
    # The parts are recorded, as the clocks of two machines may not agree on which file is newer.
    made_of = {
        os.path.relpath(part, path.parent): [status.st_size, status.st_mtime_ns]
        for part, status in ((part, part.stat()) for part in parts)
    }
    note = summary.cohort.layout.raw_root / f".{path.name}.parts.json"
    if path.is_file() and not summary.worked_on and _noted(note) == made_of:
        return True
    join_h5ad(path, parts)
    write_json(note, made_of, durable=False)
    return True


def _noted(note: Path) -> object:
    try:
        return json.loads(note.read_bytes())
    except (OSError, ValueError):
        return None
