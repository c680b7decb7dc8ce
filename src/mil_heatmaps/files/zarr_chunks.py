"""Check an array of an untrusted Zarr folder before its chunks are decoded: known codecs, and sizes as stated.

A codec may be code: numcodecs' ``pickle`` unpickles. And a chunk may unpack to any size, whatever its array says.
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import Any

from mil_heatmaps.errors import HeatmapError

_METADATA = (".zarray", ".zattrs", ".zgroup", ".zmetadata", "zarr.json")
_V3_NAMES = {"BloscCodec": "blosc", "GzipCodec": "gzip", "ZstdCodec": "zstd"}
_ZSTD = 0xFD2FB528


def check_chunks(array: Any, folder: Path, most_bytes: int, error: type[HeatmapError]) -> None:
    """Raise `error` unless the array and each of its chunks takes at most `most_bytes`, through codecs that are known.

    `folder` is that of the array. An array without a single chunk may claim any size.
    """
    chunk_bytes = math.prod(array.chunks) * array.dtype.itemsize
    if array.dtype.kind not in "fiub":
        raise error(f"{folder}: holds {array.dtype}; numbers are needed")
    if max(array.nbytes, chunk_bytes) > most_bytes:
        raise error(f"{folder}: shape {array.shape} in chunks of {array.chunks} takes over {most_bytes:,} bytes")
    codec = _codec(array.metadata, folder, error)
    for path in sorted(folder.rglob("*")):
        if path.name in _METADATA or not path.is_file():
            continue
        if path.stat().st_size > chunk_bytes + 4096:
            raise error(f"{path}: {path.stat().st_size:,} bytes, more than the {chunk_bytes:,} of its chunk unpacked")
        size = _unpacked(codec, path.read_bytes(), chunk_bytes)
        if size is None or size > chunk_bytes:
            what = "does not say what it unpacks to" if size is None else f"would unpack to {size:,} bytes or more"
            raise error(f"{path}: {what}; its chunk has {chunk_bytes:,}")


def _codec(metadata: Any, folder: Path, error: type[HeatmapError]) -> str:
    """Return the name of the compression of an array, "" for none."""
    if metadata.zarr_format == 2:
        told = [*(metadata.filters or ()), *([metadata.compressor] if metadata.compressor else [])]
        names = [str(one.codec_id) for one in told]
    else:
        kinds = [type(one).__name__ for one in metadata.codecs]
        names = [_V3_NAMES.get(kind, kind) for kind in kinds if kind != "BytesCodec"]
    if len(names) > 1 or (names and names[0] not in ("blosc", "gzip", "lz4", "zlib", "zstd")):
        raise error(
            f"{folder}: its chunks are stored by {', '.join(names)}; one of blosc, gzip, lz4, zlib or zstd can be read"
        )
    return names[0] if names else ""


def _unpacked(codec: str, data: bytes, most: int) -> int | None:
    """Return the size that a chunk unpacks to, or more than `most`; None for one that does not say."""
    try:
        if codec in ("gzip", "zlib"):
            unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32)
            size = len(unpacking.decompress(data, most + 1))
            return None if unpacking.unused_data else size  # a second part may unpack to any size
        if codec == "blosc":
            return int(struct.unpack_from("<I", data, 4)[0])
        if codec == "lz4":
            return int(struct.unpack_from("<I", data)[0])
        return _zstd_size(data) if codec == "zstd" else len(data)
    except (struct.error, zlib.error):
        return None


def _zstd_size(data: bytes) -> int | None:
    """Return the content size in the header of a Zstandard frame (RFC 8878, section 3.1.1); None for several frames."""
    magic, told = struct.unpack_from("<IB", data)
    single, flag = bool(told & 0x20), told >> 6
    if magic != _ZSTD or (flag == 0 and not single):
        return None
    at = 5 + (not single) + (0, 1, 2, 4)[told & 3]
    size = int(struct.unpack_from(("<B", "<H", "<I", "<Q")[flag], data, at)[0]) + (256 if flag == 1 else 0)
    at += 1 << flag
    last = False
    while not last and at + 3 <= len(data):
        block = int.from_bytes(data[at : at + 3], "little")
        last, repeated = bool(block & 1), block >> 1 & 3 == 1
        at += 3 + (1 if repeated else block >> 3)
    return size if at + (4 if told & 4 else 0) == len(data) else None
