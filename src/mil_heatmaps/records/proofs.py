"""See at a glance that nothing changed for a finished slide: what a cohort of a hundred thousand is resumed by.

Deciding stage by stage takes about a millisecond a slide. A slide that is finished therefore keeps a proof in its
record's head: a key over everything that goes into those decisions but files (config, model, row, paths, versions),
size, mtime and ctime of every input file as it was fingerprinted, and size and mtime of every output. When all are as
then, the decisions are, too. Whatever differs, be it only a file's ctime, sends the slide the long way; a proof never
says more than the long way would.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from mil_heatmaps.records.record_file import read_head
from mil_heatmaps.records.slide_record import SlideRecord, decide

if TYPE_CHECKING:
    from pathlib import Path

    from mil_heatmaps.stages.base import RunSettings, SlideJob

_ENCODED = ("features", "fine_features")


def signature(path: str | Path) -> list[int] | None:
    """Return size, mtime and ctime; the last changes with the content even when somebody sets the times back."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


class Prover:
    """Makes and checks the proofs of one run."""

    def __init__(self, settings: RunSettings) -> None:
        from mil_heatmaps.config.tissue_parameters import cohort_params
        from mil_heatmaps.stages.all_stages import STAGES
        from mil_heatmaps.version import __version__

        config = settings.config
        self._settings = settings
        self._encoder: str | None = None
        self._listed = _CoordsFolders()
        self._shared = _digest(
            __version__,
            config.model_dump(mode="json", exclude={"run_arguments"}),
            settings.model.identity,
            settings.cohort_scale_digest,
            repr(cohort_params(config)),
            {stage.name: stage.version for stage in STAGES},
        )

    def prove(self, job: SlideJob, record: SlideRecord) -> dict[str, Any] | None:
        """Decide on every stage once more; return the proof when each would be reused, None otherwise."""
        from mil_heatmaps.stages.all_stages import STAGES
        from mil_heatmaps.stages.base import SlideWork

        work = SlideWork(job, self._settings, record)
        try:
            for stage in STAGES:
                if stage.applies(work):
                    if decide(record.stages.get(stage.name), stage.inputs(work), job.paths.raw).action != "reuse":
                        return None
                elif stage.name in record.stages:
                    return None
        except Exception:  # whatever is wrong is told the long way
            return None
        finally:
            work.close()
        return {
            "key": self._key(job, record.stages, _coords_file(job)),
            "files": {str(path): seen for path, seen in work.seen.items()},
            "stages": {
                name: {
                    "notes": list(stage.notes),
                    "outputs": {key: [output.size, output.mtime_ns] for key, output in stage.outputs.items()},
                }
                for name, stage in record.stages.items()
            },
        }

    def renew(self, job: SlideJob) -> None:
        """Give a finished slide that had to be decided on the long way a proof of how it is now.

        Otherwise it would take the long way for good, after a copy or an update of this program.
        """
        head = read_head(os.fspath(job.paths.record))
        if head is not None and self.holds(job, head):
            return
        with suppress(Timeout, OSError), FileLock(job.paths.lock).acquire(timeout=0):
            record = SlideRecord.load(job.paths.record, job.slide_id)
            record.proof = self.prove(job, record)
            if record.proof is not None and self.holds(job, {"status": record.status, "proof": record.proof}):
                record.save()

    def holds(self, job: SlideJob, head: Mapping[str, Any]) -> bool:
        """Whether a record, by the head of its file, says that the slide is up to date and nothing changed since."""
        proof = head.get("proof")
        if not proof or head["status"] != "processed":
            return False
        stages = proof["stages"]
        if proof["key"] != self._key(job, stages, self._listed.find(job)):
            return False
        if any(seen is None or signature(path) != seen for path, seen in proof["files"].items()):
            return False
        base = f"{job.paths.raw}/"
        try:
            for stage in stages.values():
                for key, (size, mtime_ns) in stage["outputs"].items():
                    status = os.stat(base + key)
                    if status.st_size != size or status.st_mtime_ns != mtime_ns:
                        return False
        except OSError:
            return False
        return True

    def _key(self, job: SlideJob, stages: Iterable[str], coords_file: Path | None) -> str:
        row = job.row
        paths = job.slide_path, job.features_path, job.tissue_path, job.scores_path, job.roi_path, coords_file
        encoder = self._encoder_digest() if any(name in stages for name in _ENCODED) else None
        return _digest(
            self._shared, encoder, row.slide_id, row.label, row.group, row.source, row.roi, row.cells,
            [str(path) for path in paths], str(job.paths.raw), str(job.paths.production), sorted(stages),
        )  # fmt: skip

    def _encoder_digest(self) -> str:
        if self._encoder is None:
            from mil_heatmaps.stages.run_encoder import encoder_identity

            self._encoder = _digest(encoder_identity(self._settings.config))
        return self._encoder


def _coords_file(job: SlideJob) -> Path | None:
    """Return the file whose coordinates complete or replace the features; one may have come where there was none."""
    from mil_heatmaps.features.find import find_coords_file

    return job.coords_path if job.features_path is None else find_coords_file(job.features_path, job.coords_dir)


class _CoordsFolders:
    """Finds the same as `_coords_file` for many slides: each folder that is looked in is listed once."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, Path | None], tuple[frozenset[str], frozenset[str]]] = {}

    def find(self, job: SlideJob) -> Path | None:
        path = job.features_path
        if path is None:
            return _coords_file(job)
        parent, name = os.path.split(path)
        key = parent, job.coords_dir
        if key not in self._names:
            self._names[key] = self._list(parent, job.coords_dir)
        stem = path.stem
        beside, elsewhere = self._names[key]
        coords, patches = f"{stem}.h5", f"{stem}_patches.h5"
        may_be = patches in beside or patches in elsewhere or coords in elsewhere
        return _coords_file(job) if may_be or (coords != name and coords in beside) else None

    @staticmethod
    def _list(parent: str, coords_dir: Path | None) -> tuple[frozenset[str], frozenset[str]]:
        """Return the names beside the features, and those in the other folders together."""
        from mil_heatmaps.features.find import coords_folders

        beside: set[str] = set()
        elsewhere: set[str] = set()
        for folder in coords_folders(parent, coords_dir):
            same = os.path.normpath(folder) == os.path.normpath(parent)
            with suppress(OSError):
                (beside if same else elsewhere).update(os.listdir(folder))
        return frozenset(beside), frozenset(elsewhere)


def _digest(*values: Any) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
