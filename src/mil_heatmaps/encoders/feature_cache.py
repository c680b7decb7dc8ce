"""Encoded features shared between runs: a folder of feature files, named by a key of all they depend on.

A file is ``<key[:2]>/<key>.h5``, with its SHA-256 in ``<key>.sha256`` beside it, so that a damaged or edited file is
not used. Files go in and out as hard links if the file system has them, else as copies.
"""

import logging
import os
import shutil
from pathlib import Path

from mil_heatmaps.features.write_features import count_rows, read_key
from mil_heatmaps.files.atomic import atomic_path, remove_abandoned, write_text
from mil_heatmaps.files.digests import sha256_file
from mil_heatmaps.words import said_by

logger = logging.getLogger(__name__)


class FeatureCache:
    """Features by their key, see `extract.extraction_key`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _file(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.h5"

    def take(self, key: str, rows: int, out: Path) -> Path | None:
        """Put the features of `key` at `out` and return the file they came from; None without a file to trust."""
        path = self._file(key)
        remove_abandoned(path.parent, recursive=False)
        try:
            if read_key(path) != key or count_rows(path) != rows:
                return None
            if sha256_file(path) != path.with_suffix(".sha256").read_text(encoding="ascii").strip():
                logger.warning("%s was changed since it was put there, and is not taken", path)
                return None
            _link(path, out)
        except OSError:
            return None
        return path

    def put(self, key: str, features: Path) -> None:
        """Add the file `features`; a cache that cannot be written only gives a warning."""
        path = self._file(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _link(features, path)
            write_text(path.with_suffix(".sha256"), sha256_file(path) + "\n")
        except OSError as error:
            logger.warning("features are not shared with other runs, %s cannot be written: %s", path, said_by(error))


def _link(source: Path, target: Path) -> None:
    """Make `target` the file `source`, whole or not at all."""
    with atomic_path(target) as partial:
        try:
            os.link(source, partial)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(source, partial)
