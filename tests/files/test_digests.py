"""Digests and fingerprints have the values that records of earlier runs hold."""

import hashlib
import os
from pathlib import Path

import numpy as np

from mil_heatmaps.files.digests import END_BYTES, file_fingerprint, fingerprint, sha256_ends, sha256_file, sha256_files


def test_a_fingerprint_is_the_sha256_of_sorted_json_without_blanks() -> None:
    expected = hashlib.sha256('{"a":["ä",null,1.5],"b":true}'.encode()).hexdigest()
    assert fingerprint({"b": True, "a": ["ä", None, 1.5]}) == expected


def test_several_files_count_by_their_names_and_contents(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    assert sha256_files([one]) == sha256_file(one) == hashlib.sha256(b"1").hexdigest()
    told = ",".join(f'"{path.name}:{sha256_file(path)}"' for path in (one, two))
    assert sha256_files([one, two]) == hashlib.sha256(f'{{"files":[{told}]}}'.encode()).hexdigest()


def test_a_large_file_is_told_by_both_ends(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(3 * END_BYTES)
    for size in (10, END_BYTES + 5, 3 * END_BYTES):
        (tmp_path / "s").write_bytes(data[:size])
        ends = data[:size][:END_BYTES] + data[:size][-END_BYTES:]
        assert sha256_ends(tmp_path / "s") == hashlib.sha256(ends).hexdigest()


def test_a_small_file_is_known_by_its_content_a_large_one_by_its_time(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"x")
    large.write_bytes(bytes(END_BYTES + 1))
    os.utime(large, ns=(5, 7))
    assert file_fingerprint(small) == {"size": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    assert file_fingerprint(large) == {"size": END_BYTES + 1, "mtime_ns": 7}
