"""What a score file from elsewhere says in JSON beside its numbers: used where it is sound, else left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.files.json_files import parse_json
from mil_heatmaps.scores.case_share import CaseShare
from mil_heatmaps.scores.score_schema import read_scores
from tests.helpers import features

DEEP = "[" * 30_000
SLIDES = [{"slide_id": "s1", "patches": 4}]
CASES: list[Any] = [
    {"case_id": "P", "number": 5, "slides": SLIDES},
    {"case_id": "P", "number": float("inf"), "slides": SLIDES},
    {"case_id": "P", "number": 1, "slides": []},
    {"case_id": "P", "number": 1, "slides": [{"slide_id": "s1", "patches": -4}]},
    {"case_id": "P", "number": 1, "slides": [{"slide_id": "s1", "patches": 4, "share": "x"}]},
    {"case_id": "P", "number": 1, "slides": [{"slide_id": "s1", "patches": 4, "without": float("nan")}]},
    {"case_id": "P", "number": 1, "slides": SLIDES, "full": "much"},
    {"case_id": "P", "number": 1, "slides": SLIDES, "lacking": 5},
]


def scored(path: Path, **attributes: Any) -> Path:
    with h5py.File(path, "w") as file:
        file["coords"], file["scores"] = features.grid_coords(2, 2, 64), np.ones((4, 1), np.float32)
        file["scores"].attrs["patch_size_level0"] = 64
        for key, value in attributes.items():
            file["scores"].attrs[key] = value
    return path


@pytest.mark.parametrize("text", [DEEP, '{"a": ' * 5000, "{", "7" * 5000, '{"counts": {"n": Infinity}}', "\x00", ""])
def test_attributes_that_are_no_json_are_left_out(tmp_path: Path, text: str) -> None:
    named = {key: np.bytes_(text.encode()) for key in ("case", "features_fingerprint", "settings", "checks")}
    found = read_scores(scored(tmp_path / "s.h5", **named))
    assert (found.case, len(found)) == (None, 4)


def test_notices_that_cannot_be_read_are_shown_as_they_are(tmp_path: Path) -> None:
    told = json.dumps([{"code": "c", "words": "w", "counts": {"n": float("inf")}}])
    (notice,) = read_scores(scored(tmp_path / "s.h5", notices=np.bytes_(told.encode()))).notices
    assert "Infinity" in notice
    (notice,) = read_scores(scored(tmp_path / "d.h5", notices=np.bytes_(DEEP.encode()))).notices
    assert notice.startswith("[[[")


@pytest.mark.parametrize("told", CASES)
def test_a_case_whose_parts_do_not_fit_is_no_case(told: Any) -> None:
    assert CaseShare.read(told) is None


def test_a_sound_case_is_read_as_it_was_written() -> None:
    told = {"case_id": "P", "number": 1, "slides": [{"slide_id": "s1", "patches": 4, "share": 1.0}], "output": "p(a)"}
    case = CaseShare.read(told)
    assert case is not None
    assert case.plain() == told


def test_every_fault_of_json_is_one_kind_of_error() -> None:
    for text in (DEEP, "{", b"\xff"):
        with pytest.raises(ValueError, match=r"nested|Expecting|decode"):
            parse_json(text)
    assert parse_json("9" * 400) == float("inf")


def test_names_of_other_bytes_no_classes_and_thousands_of_names_are_read_or_told(tmp_path: Path) -> None:
    with h5py.File(scored(tmp_path / "s.h5", score=b"\xff\xfe", prediction_classes=np.zeros(0)), "a") as file:
        file["scores"].attrs["names"] = np.array([b"\xffa"])
    found = read_scores(tmp_path / "s.h5")
    assert found.prediction is None
    assert all(name.encode() for name in (found.scores.score, *found.scores.names))
    scored(tmp_path / "n.h5", names=np.arange(5000))
    with pytest.raises(ScoreError, match="5000 names: 0, 1, 2, 3, 4, 5, 6, 7 and 4992 more"):
        read_scores(tmp_path / "n.h5")


@pytest.mark.parametrize("value", [1 + 2j, np.array([1j, 2]), np.bytes_(b"x"), h5py.Empty("f4")])
def test_numbers_of_a_prediction_that_are_not_real_are_none(tmp_path: Path, value: Any) -> None:
    named = {"prediction_classes": ["a", "b"], "prediction_logits": value, "prediction_probabilities": value}
    with pytest.raises(ScoreError, match=r"s\.h5: 2 classes, 0 probabilities and 0 logits"):
        read_scores(scored(tmp_path / "s.h5", **named))
    explained = {"kind": "leave_one_out", "score": "leave_one_out", "output": "A", "settings": "{}", "full": value}
    found = read_scores(scored(tmp_path / "e.h5", **explained)).scores.explained
    assert found is not None
    assert found.full == ()


def test_complex_scores_are_refused_with_their_type(tmp_path: Path) -> None:
    path = scored(tmp_path / "s.h5")
    with h5py.File(path, "r+") as file:
        del file["scores"]
        file["scores"] = np.full((4, 1), 1 + 2j)
        file["scores"].attrs["patch_size_level0"] = 64
    with pytest.raises(ScoreError, match=r"s\.h5.*complex"):
        read_scores(path)
