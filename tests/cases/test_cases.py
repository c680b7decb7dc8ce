"""The cases from bug reports, as their users ran them: `HEATMAP_TEST_DATA`/cases makes and checks them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.helpers.places import CURE, ROOT, SHARED
from tests.helpers.warm import WarmProgram

FOLDER = SHARED / "cases"


def found_cases() -> tuple[dict[str, tuple[str, str, Callable[[Any], None]]], Any]:
    """Return the cases by name (kind, what must happen, check), and their kit; nothing where absent."""
    if not (FOLDER / "kit.py").is_file():
        return {}, None
    before = sys.dont_write_bytecode
    sys.path.insert(0, str(FOLDER))
    sys.dont_write_bytecode = True  # the folder belongs to others, and may be read-only
    try:
        kit = importlib.import_module("kit")
        for path in sorted(FOLDER.glob("cases_*.py")):
            importlib.import_module(path.stem)
    finally:
        sys.path.remove(str(FOLDER))
        sys.dont_write_bytecode = before
    return kit.CASES, kit


CASES, KIT = found_cases()


@pytest.mark.slow
@pytest.mark.skipif(not CASES, reason=f"no cases at {FOLDER}; {CURE}")
@pytest.mark.parametrize("name", sorted(CASES) or ["none"])
def test_the_case_of_a_bug_report_is_right(
    name: str, warm: WarmProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The kit opens large pictures itself, and lifts Pillow's limit for good.
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    folder = tmp_path / "case"
    folder.mkdir()

    def run(script: str, *arguments: Any) -> Any:
        said = tmp_path / "said.txt"
        said.unlink(missing_ok=True)
        started = warm.start(script, arguments, folder, said)
        return KIT.Outcome(started.wait().code, started.said())

    bench = KIT.Bench(folder, ROOT, sys.executable)
    bench.run = run
    CASES[name][2](bench)
    assert not bench.short, f"{CASES[name][1]}: " + "; ".join(bench.short)
