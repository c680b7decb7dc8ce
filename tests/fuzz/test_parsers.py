"""Mutations of good files: every parser reads them or says why not. `make fuzz` runs the same for as long as asked."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mil_heatmaps.errors import HeatmapError
from tests.fuzz.parsers import PARSERS

FOUND = Path(__file__).parent / "findings"
"""Inputs that once did harm, by parser: a folder each."""

ODD = [b"\0", b"\xff" * 8, b"9" * 400, b"1:1:1", b"!!bool x", b"&a [*a]", b"[[[[", b"{", b"-1", b"1e400", b"\xff\xd8"]
TOO_SLOW = HealthCheck.too_slow  # of hypothesis, on a busy machine: it says nothing of the parser

MUTATIONS = st.lists(
    st.tuples(
        st.integers(0, 1 << 16), st.sampled_from(["replace", "insert", "cut"]), st.sampled_from(ODD) | st.binary()
    ),
    min_size=1,
    max_size=4,
)


def mutated(seed: bytes, changes: list[tuple[int, str, bytes]]) -> bytes:
    """Return a good file with bytes replaced, put in, or cut out."""
    data = seed
    for at, kind, new in changes:
        place = at % (len(data) + 1)
        rest = {"replace": place + len(new), "insert": place, "cut": place + at % 32}[kind]
        data = data[:place] + (b"" if kind == "cut" else new) + data[rest:]
    return data


def tried(name: str, data: bytes) -> str:
    """Return ``read`` or ``refused``; any other error passes on."""
    parser = PARSERS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, parser.file_name)
        path.write_bytes(data)
        try:
            parser.read(path)
        except HeatmapError as error:
            return "refused" if str(error).strip() else "refused without a reason"
    return "read"


@pytest.mark.parametrize("name", PARSERS)
def test_a_good_file_is_read(name: str) -> None:
    assert tried(name, PARSERS[name].seed()) == "read"


@pytest.mark.parametrize("name", PARSERS)
def test_a_mutated_file_is_read_or_refused(name: str) -> None:
    seed = PARSERS[name].seed()

    @settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=[TOO_SLOW])
    @given(MUTATIONS)
    def check(changes: list[tuple[int, str, bytes]]) -> None:
        assert tried(name, mutated(seed, changes)) in ("read", "refused")

    check()


@pytest.mark.parametrize("path", sorted(FOUND.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_once_found_stays_mended(path: Path) -> None:
    tried(path.parent.name, path.read_bytes())
