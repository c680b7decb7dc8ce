"""Chunks of a Zarr folder from elsewhere are decoded only by known codecs, and only if they hold what they should."""

from __future__ import annotations

import gzip
import json
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.scores.tool_files import read_zarr
from mil_heatmaps.slides.slide_space import SlideSpace

zarr = pytest.importorskip("zarr", reason="needs zarr")
RAW = np.arange(16, dtype="f8").tobytes()
PICKLED = [{"id": "pickle", "protocol": 5}]
DELTA = [{"id": "delta", "dtype": "<f8"}]
ZLIB, ZSTD = {"id": "zlib", "level": 1}, {"id": "zstd", "level": 1}
HOSTILE: dict[str, tuple[dict[str, Any], bytes, str]] = {
    "pickle": ({"compressor": PICKLED[0]}, pickle.dumps(1), "no Zarr of numbers"),
    "pickle behind texts": ({"dtype": "|O", "fill_value": "", "filters": [{"id": "vlen-utf8"}, *PICKLED]},
                            pickle.dumps(1), "numbers are needed|stored by"),
    "filter": ({"compressor": ZLIB, "filters": DELTA}, zlib.compress(RAW), "stored by delta, zlib"),
    "other codec": ({"compressor": {"id": "bz2", "level": 1}}, b"BZh9", "stored by bz2"),
    "zlib bomb": ({"compressor": ZLIB}, zlib.compress(bytes(1 << 20)), "would unpack to 129 bytes"),
    "gzip bomb behind a good part": ({"compressor": {"id": "gzip", "level": 1}},
                                     gzip.compress(RAW) + gzip.compress(bytes(1 << 20)), "does not say what"),
    "blosc that lies": ({"compressor": {"id": "blosc"}}, struct.pack("<BBBBIII", 2, 1, 1, 8, 1 << 31, 8, 16),
                        "would unpack to 2,147,483,648"),
    "lz4 that lies": ({"compressor": {"id": "lz4"}}, struct.pack("<I", 1 << 30) + RAW, "would unpack to"),
    "zstd that lies": ({"compressor": ZSTD}, bytes.fromhex("28b52ffde0") + struct.pack("<Q", 1 << 40) + b"\x01\0\0",
                       "would unpack to"),
    "two frames of zstd": ({"compressor": ZSTD}, bytes.fromhex("28b52ffd200109000078") * 2, "does not say what"),
    "cut": ({"compressor": ZLIB}, b"xx", "no Zarr of numbers|does not say what"),
    "long": ({"compressor": None}, bytes(10_000), "more than the 128"),
    "huge": ({"shape": [1 << 40, 4]}, RAW, "takes over"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_chunk_is_told_and_not_decoded(tmp_path: Path, name: str) -> None:
    change, chunk, reason = HOSTILE[name]
    folder = tmp_path / "s1.zarr"
    group = zarr.open_group(str(folder), mode="w", zarr_format=2)
    for array in ("coordinates", "probabilities"):
        group.create_array(array, shape=(4, 4), chunks=(4, 4), dtype="f8")[:] = np.arange(16).reshape(4, 4)
    told = folder / "coordinates" / ".zarray"
    told.write_text(json.dumps(json.loads(told.read_text()) | change))
    (folder / "coordinates" / "0.0").write_bytes(chunk)
    with pytest.raises(ScoreError, match=reason) as refused:
        read_zarr(folder, SlideSpace((1000, 1000)), 64)
    assert "Error" not in str(refused.value)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("codec", ["auto", None, "zstd", "gzip", "blosc"])
def test_the_usual_codecs_are_read(tmp_path: Path, version: int, codec: str | None) -> None:
    chosen: Any = codec
    if codec in ("zstd", "gzip", "blosc"):
        named: Any = {2: {"id": codec}, 3: {"name": codec, "configuration": {}}}[version]
        chosen = named
    group = zarr.open_group(str(tmp_path / "s1.zarr"), mode="w", zarr_format=version)
    boxes = np.array([[k * 64, 0, k * 64 + 64, 64] for k in range(40)], "f8")
    for name, values in (("coordinates", boxes), ("probabilities", np.ones((40, 2), "f4"))):
        group.create_array(name, shape=values.shape, chunks=(16, values.shape[1]), dtype=values.dtype,
                           compressors=chosen)[:] = values  # fmt: skip
    group.attrs.update({"resolution": 1.0, "units": "baseline"})
    assert read_zarr(tmp_path / "s1.zarr", SlideSpace((4000, 1000)), 64).values.shape == (40, 2)
