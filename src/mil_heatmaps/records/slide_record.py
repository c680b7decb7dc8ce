"""What was done for a slide, what it depended on, and whether it is still valid.

`record.json` is authoritative for a slide. For each stage it keeps the inputs the result depends on (parameters,
versions, fingerprints of files), a SHA-256 over them, and the outputs with size, mtime and SHA-256. A stage is reused
only if inputs and outputs match.
"""

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic_core import from_json

from mil_heatmaps.choices import STAGE_NAMES
from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.files.digests import fingerprint, sha256_file
from mil_heatmaps.notices import Notice, distinct
from mil_heatmaps.words import first_of

Action = Literal["compute", "recompute", "reuse"]

_READ_BYTES = 1 << 16
"""More than most records have."""

_BINARY = getattr(os, "O_BINARY", 0)  # Windows


class OutputFile(NamedTuple):  # a tuple, as a run over 100,000 slides makes a million of them
    """One file that a stage wrote, as it was when written."""

    size: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "OutputFile":
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, sha256_file(path))

    def matches(self, path: str | Path) -> bool:
        """Whether `path` still holds what was written; the content is read only when the times differ."""
        try:
            status = os.stat(path)
        except OSError:
            return False
        if status.st_size != self.size:
            return False
        return status.st_mtime_ns == self.mtime_ns or sha256_file(Path(path)) == self.sha256


class StageRecord(NamedTuple):
    """One finished stage."""

    inputs: Mapping[str, Any]
    fingerprint: str
    outputs: Mapping[str, OutputFile]  # by path relative to the record's folder, with /
    seconds: float
    notes: tuple[Notice, ...] = ()

    @classmethod
    def of(
        cls, inputs: Mapping[str, Any], paths: Iterable[Path], base: Path, seconds: float, notes: Iterable[Notice]
    ) -> "StageRecord":
        """Record that `paths` were written from `inputs`."""
        outputs = {relative(path, base): OutputFile.of(path) for path in paths}
        return cls(dict(inputs), fingerprint(inputs), outputs, round(seconds, 3), tuple(notes))


def relative(path: Path, base: Path) -> str:
    """`path` as seen from `base`, with forward slashes, so that an experiment can be moved as a whole."""
    return _seen_from(str(path), str(base))


def _seen_from(path: str, base: str) -> str:
    # os.path.relpath costs twenty times as much as this, and would be asked for every stage of every slide.
    inside = base + os.sep
    if ".." in path or ".." in inside:
        beside = os.path.relpath(path, base)
    elif path.startswith(inside):
        beside = path[len(inside) :]
    else:
        folder, _, name = path.rpartition(os.sep)
        parent = folder_of(base)
        if folder and not inside.startswith(path):
            beside = f"{_from_below(folder, parent)}{os.sep}{name}"
        else:  # a folder above, mostly
            beside = _from_below(path, parent)
    return beside.replace(os.sep, "/") if os.sep != "/" else beside


def output_path(base: str, key: str) -> str:
    """Return the path of the output that `relative` named `key` as seen from `base`.

    A ``..`` goes by the names of folders, as in `relative`, even if one of them is a link.
    """
    path = f"{base}/{key}"
    return os.path.normpath(path) if key.startswith("../") else path


def folder_of(path: str) -> str:
    """Return the folder that holds a file or folder; `os.path.dirname` takes five times as long."""
    folder, _, name = path.rpartition(os.sep)
    return folder if name and folder else os.path.dirname(path) or os.curdir


@lru_cache(maxsize=256)  # the folders of slides lie side by side, and what they look at is mostly in one folder
def _from_below(path: str, parent: str) -> str:
    """Return `path` relative to a folder in `parent`."""
    return os.path.normpath(os.path.join("..", os.path.relpath(path, parent)))


def read_record(path: str | Path) -> dict[str, Any] | None:
    """Return what a record's file holds; None when it is missing or no JSON mapping."""
    try:
        data = from_json(_bytes_of(path))  # twice as fast as json, which counts where 100,000 records are read
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def _bytes_of(path: str | Path) -> bytes:
    """Return what a small file holds; a file object, which asks the system for more, takes twice as long."""
    descriptor, parts = os.open(path, os.O_RDONLY | _BINARY), []
    try:
        while part := os.read(descriptor, _READ_BYTES):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


@dataclass
class SlideRecord:
    """Everything recorded about one slide; `save` writes it whole."""

    path: Path
    slide_id: str
    status: str = "tbp"
    failed_stage: str | None = None
    error: str | None = None
    seconds: float = 0.0
    stages: dict[str, StageRecord] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)  # bag_size, prediction: what the lists show
    files: dict[str, list[Any]] = field(default_factory=dict)  # input files that were read, see `InputFiles`
    saved_at: float = field(default=0.0, compare=False)  # by the monotonic clock
    behind: bool = field(default=False, compare=False)  # a stage was done that the file does not tell of
    just_seen: set[str] = field(default_factory=set, repr=False, compare=False)
    """Stages whose outputs were found as they were written a moment ago: while a slide is planned."""

    @classmethod
    def load(cls, path: Path, slide_id: str) -> "SlideRecord":
        """Read a record; a missing or unreadable one counts as nothing done."""
        return cls.of(read_record(path), path, slide_id)

    @classmethod
    def of(cls, data: Any, path: Path, slide_id: str) -> "SlideRecord":
        """Make a record of what its file holds."""
        try:
            stages = {
                name: StageRecord(
                    stage["inputs"],
                    stage["fingerprint"],
                    {
                        key: OutputFile(value["size"], value["mtime_ns"], value["sha256"])
                        for key, value in stage["outputs"].items()
                    },
                    stage["seconds"],
                    tuple(map(Notice.read, stage["notes"])),
                )
                for name, stage in data["stages"].items()
            }
            files = data.get("files", {})
            return cls(
                path,
                slide_id,
                data["status"],
                data["failed_stage"],
                data["error"],
                data["seconds"],
                stages,
                data["summary"],
                files if isinstance(files, dict) else {},
            )
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
            return cls(path, slide_id)

    def notices(self, *, before: str | None = None) -> tuple[Notice, ...]:
        """Return the notices of all stages of the slide, or of those before one stage."""
        names = STAGE_NAMES if before is None else STAGE_NAMES[: STAGE_NAMES.index(before)]
        stages = self.stages
        return distinct([notice for name in names if name in stages for notice in stages[name].notes])

    def notices_of(self, stage: str) -> tuple[Notice, ...]:
        """Return the notices of one stage, empty if the stage is not in the record."""
        return self.stages[stage].notes if stage in self.stages else ()

    def without_files(self) -> "SlideRecord":
        """Return the part of the record that the lists show, pictures included: 100,000 of these fit in memory."""
        stages = {
            name: StageRecord({}, "", stage.outputs if name == "heatmap" else {}, stage.seconds, stage.notes)
            for name, stage in self.stages.items()
        }
        return SlideRecord(  # `replace` takes five times as long
            self.path, self.slide_id, self.status, self.failed_stage, self.error, self.seconds, stages, self.summary
        )

    def save(self) -> None:
        """Write the record whole; without waiting for the disk where it only tells that the first stage has begun."""
        write_text(self.path, self.text(), durable=bool(self.stages) or self.status != "running")
        self.saved_at, self.behind = time.monotonic(), False

    def text(self) -> str:
        """Return what the record's file holds."""
        data = {
            "slide_id": self.slide_id,
            "status": self.status,
            "failed_stage": self.failed_stage,
            "error": self.error,
            "seconds": round(self.seconds, 3),
            "summary": self.summary,
            "files": self.files,
            "stages": {
                name: {
                    "inputs": dict(stage.inputs),
                    "fingerprint": stage.fingerprint,
                    "outputs": {key: value._asdict() for key, value in stage.outputs.items()},
                    "seconds": stage.seconds,
                    "notes": [notice.plain() for notice in stage.notes],
                }
                for name, stage in self.stages.items()
            },
        }
        return json.dumps(data, ensure_ascii=False, sort_keys=True) + "\n"

    def output_sha256(self, path: Path | str) -> str:
        """SHA-256 of a file some stage wrote, from the record when it still holds, else from the file."""
        key = _seen_from(str(path), folder_of(str(self.path)))
        for name, stage in self.stages.items():
            known = stage.outputs.get(key)
            if known is not None and (name in self.just_seen or known.matches(path)):
                return known.sha256
        return sha256_file(Path(path))


class Decision(NamedTuple):
    """What to do for one stage, and why."""

    action: Action
    reason: str


REUSE = Decision("reuse", "nothing changed")


def decide(record: StageRecord | None, inputs: Mapping[str, Any], base: Path) -> Decision:
    """Return what to do for one stage. Writes nothing; the run, ``--dry-run`` and the tests all use it."""
    if record is None:
        return Decision("compute", "not done yet")
    # The inputs are nearly always equal; their digest, which costs more, decides where only the types differ.
    if record.inputs != inputs and record.fingerprint != fingerprint(inputs):
        old = _flat(record.inputs)
        new = _flat(json.loads(json.dumps(inputs)))
        changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        return Decision("recompute", f"changed: {first_of(changed, 4)}")
    folder = str(base)
    for key, output in record.outputs.items():
        path = output_path(folder, key)
        if not output.matches(path):
            state = "changed since" if os.path.exists(path) else "missing"
            return Decision("recompute", f"output {state}: {os.path.basename(path)}")
    return REUSE


def _flat(inputs: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in inputs.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
