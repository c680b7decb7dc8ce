"""Pickles of plain data are read; anything else is refused before it runs."""

import collections
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mil_heatmaps.files.safe_pickle import UnsafePickleError, dump_pickle, load_pickle, loads_pickle


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_containers_and_arrays_come_back_from_every_protocol(protocol: int) -> None:
    array = np.arange(12, dtype=np.int32).reshape(-1, 1, 2)
    value = {"tissue": [array], "holes": [[], [array[:2]]], "n": (1, 2.5, None, True, "x", b"\xff", {3})}
    back = loads_pickle(pickle.dumps(value, protocol=protocol))
    np.testing.assert_array_equal(back["tissue"][0], array)
    assert back["tissue"][0].dtype == np.int32
    assert back["n"] == value["n"]


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "mask.pkl"
    path.write_bytes(pickle.dumps({"tissue": [Touch(tmp_path / "touched")]}))
    with pytest.raises(UnsafePickleError, match=r"mask\.pkl was not read: the pickle asks for .*open"):
        load_pickle(path)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    "value", [collections.OrderedDict(a=1), np.array([{}], dtype=object), [np.array([None])], Path("x")]
)
def test_anything_but_plain_data_is_refused_when_reading_and_when_writing(value: Any, tmp_path: Path) -> None:
    with pytest.raises(UnsafePickleError, match="not read"):
        loads_pickle(pickle.dumps(value))
    with pytest.raises(UnsafePickleError, match="not read"):
        dump_pickle(value, tmp_path / "value.pkl")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"no pickle", pickle.dumps([1, 2])[:-3], b"cnumpy\ndtype\n(Vxx\ntR."])
def test_a_damaged_pickle_is_an_error_that_names_the_file(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.pkl"
    path.write_bytes(data)
    with pytest.raises(UnsafePickleError, match=r"broken\.pkl is not a readable pickle"):
        load_pickle(path)


def test_a_written_pickle_reads_back_by_the_plain_pickle_module(tmp_path: Path) -> None:
    value = {"holes": [[]], "tissue": [np.zeros((3, 1, 2), np.int32)]}
    dump_pickle(value, tmp_path / "a" / "mask.pkl")
    back = pickle.loads((tmp_path / "a" / "mask.pkl").read_bytes())
    assert back["holes"] == [[]]
    np.testing.assert_array_equal(back["tissue"][0], value["tissue"][0])
