"""See at a glance that nothing changed for a finished slide: what a cohort of a hundred thousand is resumed by.

Deciding stage by stage takes about a millisecond a slide. A slide that is finished therefore keeps a proof in its
record: a key over everything that goes into those decisions but files (config, model, row, paths, versions), and size,
mtime and ctime of every input file as it was fingerprinted. When the key, the inputs and the outputs are as then, the
decisions are, too. Whatever differs, be it only a file's ctime, sends the slide the long way; a proof never says more
than the long way would.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from src.pipeline.records import SlideRecord
    from src.pipeline.stages.base import RunSettings, SlideJob

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
        import src
        from src.pipeline.parameters import cohort_params
        from src.pipeline.stages import STAGES

        config = settings.config
        self._settings = settings
        self._encoder: str | None = None
        self._shared = _digest(
            src.__version__,
            config.model_dump(mode="json", exclude={"run_arguments"}),
            settings.model.identity,
            settings.cohort_scale_digest,
            repr(cohort_params(config)),
            {stage.name: stage.version for stage in STAGES},
        )

    def prove(self, job: SlideJob, record: SlideRecord) -> dict[str, Any] | None:
        """Decide on every stage once more; return the proof when each would be reused, None otherwise."""
        from src.pipeline.records import decide
        from src.pipeline.stages import STAGES
        from src.pipeline.stages.base import SlideWork

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
        files = {str(path): seen for path, seen in work.seen.items()}
        return {"key": self._key(job, record.stages), "files": files}

    def holds(self, job: SlideJob, data: Mapping[str, Any]) -> bool:
        """Whether a record, as read from its file, says that the slide is up to date and nothing changed since."""
        proof = data.get("proof")
        if not proof or data["status"] != "processed" or proof["key"] != self._key(job, data["stages"]):
            return False
        if any(seen is None or signature(path) != seen for path, seen in proof["files"].items()):
            return False
        base = f"{job.paths.raw}/"
        try:
            for stage in data["stages"].values():
                for key, output in stage["outputs"].items():
                    status = os.stat(base + key)
                    if status.st_size != output["size"] or status.st_mtime_ns != output["mtime_ns"]:
                        return False
        except OSError:
            return False
        return True

    def _key(self, job: SlideJob, stages: Mapping[str, Any]) -> str:
        row = job.row
        paths = (
            job.slide_path, job.features_path, job.tissue_path, job.scores_path, job.roi_path, _coords_file(job)
        )  # fmt: skip
        encoder = self._encoder_digest() if any(name in stages for name in _ENCODED) else None
        return _digest(
            self._shared, encoder, row.slide_id, row.label, row.group, row.source, row.roi, row.cells,
            [str(path) for path in paths], str(job.paths.raw), str(job.paths.production), sorted(stages),
        )  # fmt: skip

    def _encoder_digest(self) -> str:
        if self._encoder is None:
            from src.pipeline.encoding import encoder_identity

            self._encoder = _digest(encoder_identity(self._settings.config))
        return self._encoder


def _coords_file(job: SlideJob) -> Path | None:
    """Return the file whose coordinates complete or replace the features; one may have come where there was none."""
    from src.features.find import find_coords_file

    return job.coords_path if job.features_path is None else find_coords_file(job.features_path, job.coords_dir)


def _digest(*values: Any) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
