"""Read text files that may be packed, up to what a file of their size can honestly hold."""

import gzip
import zlib
from pathlib import Path

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.words import said_by

_MOST_SQUEEZED = 40
"""Outlines and tables are squeezed to a tenth, a grid of equal squares to a twenty-fifth."""

_ALWAYS_BYTES = 4 << 20


def read_packed(path: Path, error: type[HeatmapError]) -> bytes:
    """Return the bytes of a file, unpacked when its name ends in .gz.

    Raises
    ------
    `error`
        It cannot be read, is damaged, or would unpack to more than any text does; the rest is not unpacked.
    """
    try:
        if path.suffix.lower() != ".gz":
            return path.read_bytes()
        size = path.stat().st_size
        most = _MOST_SQUEEZED * size + _ALWAYS_BYTES
        with gzip.open(path) as file:
            data = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as cause:
        raise error(f"cannot read {path}: {said_by(cause)}") from cause
    if len(data) > most:
        raise error(f"{path} ({size:,} bytes) unpacks to more than {most:,} bytes: text never compresses that far")
    return data
