"""HDF5 files of strangers: nothing of the machine is read, nothing hangs, every file ends with a reason."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from mil_heatmaps.errors import FeatureError, HeatmapError
from mil_heatmaps.features.read import feature_info, read_coords, read_features
from mil_heatmaps.files import hdf5_guard
from mil_heatmaps.files.clam_files import load_hdf5
from mil_heatmaps.files.hdf5_writing import set_text, write_h5
from mil_heatmaps.scores.score_schema import read_scores, write_scores
from tests.helpers import features

COORDS = features.grid_coords(8, 6, 64)
READERS = (read_features, feature_info, read_scores, load_hdf5)


def _file(path: Path, fill: Callable[[h5py.File], object]) -> Path:
    with h5py.File(path, "w") as file:
        file["coords"] = COORDS
        file["coords"].attrs["patch_size_level0"] = 64
        fill(file)
    return path


def _virtual(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout((48, 2), "f4")
    layout[:] = h5py.VirtualSource(str(other), "features", (48, 2))
    file.create_virtual_dataset("features", layout)


def _elsewhere(kind: str, secret: Path) -> Callable[[h5py.File], object]:
    return {
        "external": lambda file: file.create_dataset("features", (48, 2), "f2", external=[(str(secret), 0, 192)]),
        "link": lambda file: file.__setitem__("features", h5py.ExternalLink(str(secret), "/features")),
        "link below": lambda file: file.__setitem__("extra/x", h5py.ExternalLink(str(secret), "/features")),
        "virtual": lambda file: _virtual(file, secret),
    }[kind]


@pytest.mark.parametrize("kind", ["external", "link", "link below", "virtual"])
def test_no_other_file_of_the_machine_is_read(tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["features"] = np.ones((48, 2), np.float32)
    path = _file(tmp_path / "f.h5", _elsewhere(kind, secret))
    for read in READERS:
        with pytest.raises(HeatmapError, match=r"f\.h5: not read: .*(another|other) file"):
            read(path)


def test_links_in_a_circle_are_named_and_those_that_lead_nowhere_do_no_harm(tmp_path: Path) -> None:
    circle = _file(tmp_path / "c.h5", lambda file: file.__setitem__("features", h5py.SoftLink("/features")))
    with pytest.raises(FeatureError, match="'/features' is a link that leads in a circle"):
        read_coords(circle)

    def two(file: h5py.File) -> None:
        file["features"] = np.ones((48, 4), np.float32)
        file["lost"], file["alias"] = h5py.SoftLink("/nowhere"), h5py.SoftLink("/features")
        file["again"] = file["/"]  # a hard link in a circle

    assert read_features(_file(tmp_path / "n.h5", two)).features.shape == (48, 4)


@pytest.mark.parametrize("shape", [(10**12, 2), (48, 2**23)])
def test_a_dataset_larger_than_its_file_explains_is_refused_before_it_is_read(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    for name, read in (("features", read_features), ("features", feature_info), ("scores", read_scores)):
        path = _file(
            tmp_path / f"{name}.h5",
            lambda file, name=name: file.create_dataset(name, shape, "f4", compression="gzip"),
        )
        with pytest.raises(HeatmapError, match=rf"'{name}' of shape .* takes [\d,]+ bytes, of which the file holds 0"):
            read(path)


def test_an_empty_dataset_is_told(tmp_path: Path) -> None:
    path = _file(tmp_path / "e.h5", lambda file: file.create_dataset("features", data=h5py.Empty("f4")))
    for read in (read_features, feature_info):
        with pytest.raises(FeatureError, match="'features' is an empty dataset"):
            read(path)


def test_a_damaged_file_never_ends_in_an_error_of_h5py(tmp_path: Path) -> None:
    good = _file(tmp_path / "g.h5", lambda file: file.create_dataset("features", data=np.ones((48, 4), "f4")))
    data, dice, told = good.read_bytes(), random.Random(5), 0
    for _ in range(120):
        damaged = bytearray(data)
        at = dice.randrange(len(data) - 8)
        damaged[at : at + 8] = dice.randbytes(8)
        good.write_bytes(damaged)
        for read in (read_features, read_scores):
            try:
                read(good)
            except HeatmapError:
                told += 1
    assert told > 100  # read_scores alone refuses them all


def test_a_file_on_which_hdf5_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.h5"
    with h5py.File(path, "w") as file:
        file["coords"] = COORDS
        scores = file.create_dataset("scores", data=np.ones((48, 2), np.float32))
        scores.attrs["kind"], scores.attrs["slide_id"] = "attention_logit", "S"
    data = bytearray(path.read_bytes())
    data[data.find(b"GCOL") + 24] = 200  # the length of a text in the heap
    path.write_bytes(data)
    with monkeypatch.context() as patched:
        patched.setattr(hdf5_guard, "LIMIT_S", 1.0)
        with pytest.raises(HeatmapError, match=r"s\.h5: not read: to read its structure takes longer than 1 s"):
            read_scores(path)
    good = _file(tmp_path / "g.h5", lambda file: file.create_dataset("scores", data=np.ones((48, 1), "f4")))
    assert len(read_scores(good)) == 48  # the process that looks was started again


def test_a_file_that_ends_the_process_that_looks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = tmp_path / "dying.py"
    dying.write_text("import os, signal, sys\nsys.stdin.readline()\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setattr(hdf5_guard, "_STRUCTURE", str(dying))
    monkeypatch.setattr(hdf5_guard, "_LOOKER", hdf5_guard._Looker())
    path = _file(tmp_path / "f.h5", lambda file: file.create_dataset("features", data=np.ones((48, 4), "f4")))
    with pytest.raises(FeatureError, match=r"the HDF5 library crashes on it \(signal 11\)"):
        read_features(path)


def test_our_own_texts_lie_in_no_heap_and_read_back_as_they_were(tmp_path: Path) -> None:
    source = _file(tmp_path / "s.h5", lambda file: file.create_dataset("scores", data=np.ones((48, 1), "f4")))
    own = tmp_path / "own.h5"
    write_scores(own, read_scores(source))
    assert b"GCOL" not in own.read_bytes()
    assert read_scores(own).scores.names == read_scores(source).scores.names
    with write_h5(tmp_path / "t.h5") as file:
        for name, text in {"one": "Grüße", "none": "", "odd": "bad\udcff", "long": "x" * 70_000}.items():
            set_text(file, name, text)
        set_text(file, "many", ["a", "größer"])
    from mil_heatmaps.files import hdf5

    with hdf5.open_h5(tmp_path / "t.h5") as file:
        read = hdf5.attributes(file)
    assert read["one"] == "Grüße"
    assert read["none"] == ""
    assert read["odd"] == "bad\udcff"
    assert read["long"] == "x" * 70_000
    assert [text.decode() for text in read["many"]] == ["a", "größer"]


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="the system has no alarm")
def test_the_process_that_looks_ends_by_itself_where_nobody_ends_it() -> None:
    code = "from mil_heatmaps.files import hdf5_structure as looks; looks.LIMIT_S = 1\n"
    code += "def answer(path):\n    while True: pass\n"
    code += "looks.answer = answer; looks.main()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write('"x.h5"\n')
        process.stdin.flush()
        assert process.wait() == -signal.SIGALRM
