"""Identify files and settings by SHA-256 digests and fingerprints. Records of earlier runs hold them."""

import hashlib
import json
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mil_heatmaps.files.names import DICOM_EXTENSION

SMALL_FILE_BYTES = 1 << 20
"""Up to this size a file is identified by its content, else by size and mtime, as hashing slides takes too long."""

END_BYTES = 1 << 20

_WITH_DATA_FOLDER = (".mrxs", ".vms", ".vmu")
"""Slides whose file is an index of a folder of the same name."""


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of the file's bytes, as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_files(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of the one file, or over the names and digests of several."""
    if len(paths) == 1:
        return sha256_file(paths[0])
    return fingerprint({"files": [f"{path.name}:{sha256_file(path)}" for path in paths]})


def sha256_ends(path: Path) -> str:
    """Return the SHA-256 of the first and the last `END_BYTES` of a file that is too large to be read."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        digest.update(stream.read(END_BYTES))
        stream.seek(max(0, path.stat().st_size - END_BYTES))
        digest.update(stream.read(END_BYTES))
    return digest.hexdigest()


def file_fingerprint(path: Path) -> dict[str, Any]:
    """Return what identifies a file: its size and, if small, its SHA-256, else its mtime.

    The name is left out on purpose: moving a cohort with its times kept does not redo it. The folder of a DICOM series
    is identified by its files.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        return {"files": sorted(_parts(path))}
    if status.st_size <= SMALL_FILE_BYTES:
        known: dict[str, Any] = {"size": status.st_size, "sha256": sha256_file(path)}
    else:
        known = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    data = path.with_suffix("")
    if path.suffix.lower() in _WITH_DATA_FOLDER and data.is_dir():
        known["data"] = sorted([part.name, part.stat().st_size] for part in data.iterdir() if part.is_file())
    return known


def _parts(folder: Path) -> Iterator[list[Any]]:
    """Yield name, size and mtime of each DICOM file in a folder."""
    for part in folder.iterdir():
        if part.name.lower().endswith(DICOM_EXTENSION) and not part.name.startswith("."):
            status = part.stat()
            yield [part.name, status.st_size, status.st_mtime_ns]


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """Return the SHA-256 over the inputs as canonical JSON."""
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
