"""The log of encoded batches: cut, changed, foreign, or held by another process."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mil_heatmaps.encoders.feature_log import FeatureLog
from mil_heatmaps.errors import FeatureError


def log_of(path: Path, key: str = "k") -> FeatureLog:
    return FeatureLog(path, key, 100, 5)


def rows(n: int, start: int = 0) -> npt.NDArray[np.float32]:
    return np.arange(start * 5, (start + n) * 5, dtype=np.float32).reshape(n, 5)


@pytest.mark.parametrize("cut", [0, 1, 15, 16, 17, 59])
def test_a_log_cut_anywhere_keeps_its_complete_batches(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "log"
    with log_of(path) as log:
        log.append(rows(4))
        log.append(rows(2, 4))
        kept = path.stat().st_size
        log.append(rows(3, 6))
    with path.open("r+b") as file:
        file.truncate(kept + cut)
    with log_of(path) as log:
        assert log.rows == 6
        assert log.batch_size == 4
        log.append(rows(1, 6))
        assert np.array_equal(log.read(np.array([6, 0, 5, 3])), rows(7)[[6, 0, 5, 3]])


def test_a_batch_that_was_changed_on_disk_is_encoded_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with log_of(path) as log:
        log.append(rows(4))
        place = path.stat().st_size
        log.append(rows(2, 4))
    with path.open("r+b") as file:
        file.seek(place + 20)
        file.write(b"\xff")
    with log_of(path) as log:
        assert log.rows == 4


@pytest.mark.parametrize("content", [b"", b"MILFEAT1", b"something else that is longer than a head" * 9])
def test_a_file_that_is_no_log_begins_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log").write_bytes(content)
    with log_of(tmp_path / "log") as log:
        assert log.rows == 0
        log.append(rows(3))
    written = (tmp_path / "log").read_bytes()
    length = int.from_bytes(written[8:12], "little")
    assert written[:8] == b"MILFEAT1"
    assert json.loads(written[12 : 12 + length]) == {"key": "k", "n": 100, "width": 5}
    assert (12 + length) % 64 == 0
    with log_of(tmp_path / "log") as log:
        assert log.rows == 3


def test_a_log_of_something_else_begins_anew(tmp_path: Path) -> None:
    with log_of(tmp_path / "log") as log:
        log.append(rows(3))
    with log_of(tmp_path / "log", "other") as log:
        assert log.rows == 0


def test_two_processes_do_not_write_one_log(tmp_path: Path) -> None:
    with log_of(tmp_path / "log") as log:
        with pytest.raises(FeatureError, match="another process is encoding into"):
            log_of(tmp_path / "log")
        log.remove()
    assert list(tmp_path.iterdir()) == []
    with log_of(tmp_path / "log") as log:
        assert log.rows == 0
