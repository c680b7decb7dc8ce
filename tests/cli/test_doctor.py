"""`test_heatmap_setup.py`: what it looks at, what it says, how it leaves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mil_heatmaps.cli import doctor_checks
from mil_heatmaps.cli.doctor import examine, main
from mil_heatmaps.cli.doctor_checks import NEEDED, check_package, check_page, check_python, check_writable
from mil_heatmaps.encoders import torchvision_version
from tests.helpers.cohort import make_small_cohort, write_abmil

ROOT = Path(__file__).resolve().parents[2]


def test_a_sound_installation_passes_with_one_line_a_check(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["--output_dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = {line[6:31].strip(): line.split()[0] for line in lines if re.match("pass|warn|fail", line)}
    for name in ("Python", "OpenSlide library", "output folder", "slide", "heatmap, end to end", *NEEDED):
        assert names[name] == "pass", name
    assert names["viewer's page"] in ("pass", "fail")
    assert lines[-1] == "heatmaps can be made here"


def test_json_says_the_same_to_programs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = main(["--output_dir", str(tmp_path), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is (code == 0)
    assert {"name", "verdict", "detail", "fix"} == set(report["checks"][0])


def test_every_dependency_of_the_project_is_looked_at() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text[text.index("\ndependencies = [") : text.index("]", text.index("\ndependencies = ["))]
    packages = set(re.findall(r'"([\w-]+)', block))
    assert packages - {"openslide-bin"} == set(NEEDED)


def test_every_extra_is_looked_at_with_what_it_is_for_and_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text[text.index("[project.optional-dependencies]") : text.index("[project.scripts]")]
    extras = {
        name: set(re.findall(r'"([\w-]+)>=', packages))
        for name, packages in re.findall(r"(\w+) = \[(.*?)\]", block, re.DOTALL)
    }
    for of_developers in ("dev", "docs", "fuzz", "release"):
        del extras[of_developers]
    assert extras == {name: set(packages) for name, (_, packages) in doctor_checks.EXTRAS.items()}
    monkeypatch.setitem(doctor_checks.EXTRAS, "viewer", ("the viewer", {"starlette": "no_such_module"}))
    check = doctor_checks.check_extra("viewer")
    assert (check.verdict, check.fix) == ("warn", "pip install -e '.[viewer]'")
    assert check.detail == "not installed: starlette; needed for the viewer"


def test_a_missing_package_fails_with_the_line_that_fixes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    check = check_package("h5py", "h5py")
    assert check.verdict == "fail"
    assert "pip install h5py" in check.fix


def test_a_package_that_is_too_old_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_checks, "_least_version", lambda package: "99.1")
    check = check_package("numpy", "numpy")
    assert (check.verdict, check.fix) == ("fail", "pip install -U 'numpy>=99.1'")


def test_an_old_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_checks, "OLDEST_PYTHON", (9, 9))
    assert check_python().verdict == "fail"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_fails(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    check = check_writable(tmp_path / "below")
    tmp_path.chmod(0o700)
    assert check.verdict == "fail"


def test_a_file_in_place_of_the_output_folder_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert check_writable(tmp_path / "file" / "below").verdict == "fail"


def test_a_missing_library_of_the_viewer_fails_and_is_mended_by_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mil_heatmaps.viewer import assets

    monkeypatch.setattr(assets, "page_dir", lambda: tmp_path)
    check = check_page()
    assert check.verdict == "fail"
    assert check.fix


def test_slides_and_models_of_the_user_are_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = make_small_cohort(tmp_path / "c")
    own = cohort.slides / "s1.tif", cohort.features / "s1.h5", cohort.checkpoint
    last = examine(tmp_path, *own)[-1]
    assert (last.name, last.verdict) == ("heatmap, end to end", "pass")
    write_abmil(cohort.checkpoint, width=24)
    last = examine(tmp_path, *own)[-1]
    assert last.verdict == "fail"
    assert "24" in last.detail
    (tmp_path / "bad.svs").write_bytes(b"no slide")
    assert main(["--slide", str(tmp_path / "bad.svs"), "--output_dir", str(tmp_path)]) == 1
    assert "fail  slide" in capsys.readouterr().out


def test_pytest_collects_none_of_it_and_the_script_runs() -> None:
    shown = subprocess.run(
        [sys.executable, "test_heatmap_setup.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "one line per check" in shown.stdout
    assert "def test_" not in (ROOT / "test_heatmap_setup.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("torch", "line"),
    [
        ("2.13.0+cpu", "pip install 'torchvision==0.28.*' --index-url https://download.pytorch.org/whl/cpu"),
        ("2.6.0+cu124", "pip install 'torchvision==0.21.*' --index-url https://download.pytorch.org/whl/cu124"),
        ("2.14.1", "pip install 'torchvision==0.29.*'"),
        ("3.0.0", None),
    ],
)
def test_the_torchvision_that_goes_with_a_torch_is_named(torch: str, line: str | None) -> None:
    assert torchvision_version.install_line_for(torch) == line


@pytest.mark.parametrize(
    ("torchvision", "timm", "verdict", "fix"),
    [
        ("0.28.1+cpu", True, "pass", ""),
        ("0.29.1", True, "warn", "pip install 'torchvision==0.28.*' --index-url https://download.pytorch.org/whl/cpu"),
        (None, False, "warn", "pip install 'torchvision==0.28.*' --index-url https://download.pytorch.org/whl/cpu"
                              " && pip install -e '.[encoders]'"),
        ("0.28.1+cpu", False, "warn", "pip install -e '.[encoders]'"),
    ],
)  # fmt: skip
def test_encoders_are_told_with_the_torchvision_that_keeps_torch(
    torchvision: str | None, timm: bool, verdict: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {"torch": "2.13.0+cpu", "torchvision": torchvision}
    monkeypatch.setattr(torchvision_version, "installed_version", versions.get)
    monkeypatch.setattr(doctor_checks.importlib.util, "find_spec", lambda name: object() if timm else None)
    check = doctor_checks.check_extra("encoders")
    assert (check.verdict, check.fix) == (verdict, fix)


def test_a_torchvision_of_the_right_release_that_cannot_be_imported_is_no_pass(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    versions = {"torch": "2.13.0+cpu", "torchvision": "0.28.0"}
    monkeypatch.setattr(torchvision_version, "installed_version", versions.get)
    found = torchvision_version.misfit()
    assert found == (
        "0.28.0 is no build that works with torch 2.13.0+cpu (operator torchvision::nms does not exist)",
        "pip install --force-reinstall --no-deps 'torchvision==0.28.*' "
        "--index-url https://download.pytorch.org/whl/cpu",
    )
