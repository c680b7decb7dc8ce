"""Arrays and JSON of strangers: read, or refused in the reader's own kind of error; nothing runs, nothing swells."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.files.arrays import read_arrays, read_npy, read_safetensors
from mil_heatmaps.files.json_files import read_json


class Evil:
    """An object whose unpickling leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> object:
        return Path.touch, (self.trace,)


def npy(shape: str, data: bytes = b"") -> bytes:
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head + data


def npz(**members: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return held.getvalue()


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_arrays_are_read_as_numpy_wrote_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=np.arange(3), none=np.zeros((0, 2)), text=np.array("x"))
    found = read_arrays(tmp_path / "a.npz", ScoreError)
    assert {name: value.tolist() for name, value in found.items()} == {"one": [0, 1, 2], "none": [], "text": "x"}
    np.save(tmp_path / "b.npy", np.zeros((0, 4)))
    assert read_npy(tmp_path / "b.npy", ScoreError).shape == (0, 4)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    trace = tmp_path / "it ran"
    objects = np.array([Evil(trace)], object)
    np.save(tmp_path / "o.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "o.npz", a=objects)
    for name in ("o.npy", "o.npz"):
        with pytest.raises(ScoreError, match=rf"{name}: damaged, or holds more than arrays of numbers"):
            read_arrays(tmp_path / name, ScoreError)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (npz(a=npy("(8000000,)", bytes(32_000_000))), r"would unpack to 32,0.*measurements never compress that far"),
        (npz(a=npy("(10000000000,)")), "damaged, or holds more than arrays"),
        (npy("(10000000000,)"), "damaged, or holds more than arrays"),
        (npz(a=npy("(2,)", bytes(8)))[:60], "damaged"),
        (b"\x80\x04.", "holds no arrays of NumPy, it begins with"),
        (b"<!doctype html><html>", "is a web page"),
    ],
    ids=["bomb", "size in an archive", "size", "cut short", "pickle", "web page"],  # bytes of archives hold the time
)
def test_what_is_no_array_or_too_much_is_told(tmp_path: Path, data: bytes, why: str) -> None:
    with pytest.raises(ScoreError, match=why):
        read_arrays(written(tmp_path / "x.npz", data), ScoreError)


def test_a_pipe_is_no_file_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    for read in (read_arrays, read_json):
        with pytest.raises(ScoreError, match=r"pipe\.json: is no file"):
            read(tmp_path / "pipe.json", ScoreError)
        with pytest.raises(ScoreError, match=r"gone\.json: does not exist"):
            read(tmp_path / "gone.json", ScoreError)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"[" * 100_000, "recursion"),
        (b"\xff\xfe\x00", "is not JSON that can be read"),
        (b'{"a": ', "is not JSON: .* at line 1, column 7"),
        (gzip.compress(b" " * (1 << 26)), "text never compresses that far"),
        (b"\x1f\x8b\x08\x00" + b"\xff" * 30, "cannot read"),
    ],
)
def test_json_that_is_none_is_told(tmp_path: Path, data: bytes, why: str) -> None:
    name = "x.json.gz" if data[:2] == b"\x1f\x8b" else "x.json"
    with pytest.raises(ScoreError, match=why):
        read_json(written(tmp_path / name, data), ScoreError)
    with pytest.raises(ScoreError, match="up to 5 are read"):
        read_json(written(tmp_path / "y.json", b"[1, 2, 3]"), ScoreError, most_bytes=5)


def test_a_number_of_thousands_of_digits_is_infinite(tmp_path: Path) -> None:
    path = written(tmp_path / "n.json", b"[1, 12345678901234567890, -%b, %b]" % (b"1" * 400, b"9" * 5000))
    assert read_json(path, ScoreError) == [1, 12345678901234567890, float("-inf"), float("inf")]


def test_safetensors_are_whole_and_of_types_that_numpy_has_or_refused_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"

    def written(header: dict[str, Any], size: int) -> Path:
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(size))
        return path

    array = {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]}
    arrays, said = read_safetensors(written({"w": array, "__metadata__": {"kind": "x"}}, 32), ScoreError)
    assert (arrays["w"].shape, said) == ((2, 4), {"kind": "x"})
    for change, stored in (({"dtype": "BF16"}, "BF16"), ({"dtype": "F8_E4M3", "shape": [8, 4]}, "F8_E4M3")):
        change = {"shape": [4, 4], **change}
        with pytest.raises(ScoreError, match=rf"a\.safetensors: w is stored as {stored}: save it as 32-bit"):
            read_safetensors(written({"w": array | change}, 32), ScoreError)
    for change in ({"shape": [2**40, 4]}, {"shape": [-1, 4]}, {"dtype": "X"}, {"data_offsets": [0, 6400]}):
        with pytest.raises(ScoreError, match=r"a\.safetensors: no whole safetensors file \("):
            read_safetensors(written({"w": array | change}, 32), ScoreError)
