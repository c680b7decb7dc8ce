"""The release set: every package with a hash, torch and torchvision of one build."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _release_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "release")
    for name in ("release_set", "release_check"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize(
    ("file", "needed"),
    [("requirements-release.txt", {"torch", "h5py", "starlette", "huggingface_hub"}),
     ("requirements-release-encoders.txt", {"torch", "torchvision", "timm", "starlette", "huggingface_hub"})],
)  # fmt: skip
def test_every_package_of_a_release_set_has_a_hash_and_the_tested_version(file: str, needed: set[str]) -> None:
    from release_check import pins, set_problems

    text = (ROOT / file).read_text(encoding="utf-8")
    packages = [line for line in text.splitlines() if not line.startswith("#")]
    assert [line for line in packages if re.fullmatch(r"\S+==\S+ --hash=sha256:[0-9a-f]{64}", line) is None] == []
    tested = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    assert set_problems(text, tested) == []
    assert needed <= pins(text).keys()
    assert f"pip install --require-hashes -r {file}" in text


@pytest.mark.parametrize(
    ("torch", "torchvision", "fits"),
    [("2.13.0+cpu", "0.28.0", False), ("2.13.0", "0.28.0+cpu", False), ("2.13.0+cpu", "0.28.0+cpu", True),
     ("2.13.0", "0.28.0", True), ("2.13.0+cpu", None, True)],
)  # fmt: skip
def test_a_set_of_two_builds_is_refused(torch: str, torchvision: str | None, fits: bool) -> None:
    from release_set import mixed_builds

    lines = [f"torch=={torch} --hash=sha256:0"]
    if torchvision is not None:
        lines.append(f"torchvision=={torchvision} --hash=sha256:0")
    wrong = mixed_builds(lines)
    assert (wrong is None) == fits
    assert fits or "PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu" in str(wrong)
