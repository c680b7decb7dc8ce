"""Files of torch.save: one list of what is let through and one guard, for checkpoints and features alike."""

import argparse
import re
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.errors import CheckpointError, FeatureError
from mil_heatmaps.features.torch_files import load_pt
from mil_heatmaps.files.safe_torch import load_torch
from mil_heatmaps.weights.checkpoint_files import read_stored

READERS = [(load_pt, FeatureError), (read_stored, CheckpointError)]


class Huge:
    """An array as no NumPy writes it: its memory is taken before a byte of it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return np.zeros(1).__reduce__()[0], (np.ndarray, (10**12,), b"b")


@pytest.mark.parametrize(("read", "kind"), READERS)
def test_an_array_that_only_takes_memory_is_refused(
    read: Callable[[Path], Any], kind: type[Exception], tmp_path: Path
) -> None:
    torch.save({"features": torch.zeros(2, 3), "notes": Huge()}, tmp_path / "huge.pt")
    said = r"huge\.pt was not read: it asks for an array of type .* and shape \(1000000000000,\)"
    with pytest.raises(kind, match=said):
        read(tmp_path / "huge.pt")


@pytest.mark.parametrize(("read", "kind"), READERS)
def test_an_archive_that_grows_when_unpacked_is_refused(
    read: Callable[[Path], Any], kind: type[Exception], tmp_path: Path
) -> None:
    torch.save(torch.zeros(12_000_000), tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    with pytest.raises(kind, match=r"would unpack to 48,00\d,\d+ bytes: it was not written by torch.save"):
        read(tmp_path / "bomb.pt")


def test_what_cannot_do_anything_is_read(tmp_path: Path) -> None:
    held = {
        "array": np.arange(6, dtype=np.int16).reshape(2, 3),
        "names": np.array(["a", "bc"]),
        "scalar": np.float32(2.5),
        "args": argparse.Namespace(lr=0.1),
        "where": Path("results"),
    }
    torch.save(held, tmp_path / "m.pt")
    back = load_torch(tmp_path / "m.pt")
    np.testing.assert_array_equal(back["array"], held["array"])
    assert back["names"].tolist() == ["a", "bc"]
    assert (back["scalar"], back["args"].lr, str(back["where"])) == (2.5, 0.1, "results")


@pytest.mark.parametrize("module", ["pathlib", "pathlib._local"])
@pytest.mark.parametrize("name", ["PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"])
def test_a_path_that_any_version_of_python_wrote_is_read(tmp_path: Path, module: str, name: str) -> None:
    torch.save({"where": PurePosixPath("results")}, tmp_path / "written.pt")
    with zipfile.ZipFile(tmp_path / "written.pt") as written, zipfile.ZipFile(tmp_path / "m.pt", "w") as moved:
        for entry in written.namelist():
            data = re.sub(rb"cpathlib\S*\nPurePosixPath\n", f"c{module}\n{name}\n".encode(), written.read(entry))
            moved.writestr(entry, data)
    assert str(load_torch(tmp_path / "m.pt")["where"]) == "results"
