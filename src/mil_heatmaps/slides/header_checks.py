"""Check that a slide's headers are harmless, before OpenSlide or Pillow opens it."""

import subprocess
import sys
from pathlib import Path

from mil_heatmaps.errors import SlideError
from mil_heatmaps.files.names import PICTURE_EXTENSIONS
from mil_heatmaps.slides.tiff_headers import TiffHeaderError, TileTooLargeError, is_tiff, read_directories
from mil_heatmaps.words import one_line, said_by

_OWN_STRUCTURE = (".ndpi",)
"""TIFF by its first bytes, but with non-standard pointers beyond 4 GB, which this module cannot read."""

_COMPRESSIONS = frozenset({1, 5, 7, 8, 32946, 33003, 33004, 33005, 34712})
"""None, LZW, JPEG, deflate, JPEG 2000."""

_OPEN = "import sys, openslide; openslide.OpenSlide(sys.argv[1])"
_OPEN_S = 30.0


def refuse_large_tiles(path: Path) -> None:
    """Raise SlideError for a TIFF that declares tiles above `MOST_TILE_BYTES`; everything else is left to OpenSlide."""
    try:
        read_directories(path)
    except TileTooLargeError as error:
        raise SlideError(f"{path} is not opened: {said_by(error, 1000)}") from error
    except (TiffHeaderError, OSError):
        return


def headers_pass(path: Path) -> bool:
    """Whether a slide's headers were read and are valid, so that it may be opened in this process.

    This can hold for a TIFF whose largest picture is tiled, and for plain pictures, which have a size limit of their
    own. Headers of other formats are not read, so they do not pass.
    """
    try:
        if not path.is_file():
            return not path.exists()  # a missing file does no harm
        if path.suffix.lower() in PICTURE_EXTENSIONS:
            return True
        if path.suffix.lower() in _OWN_STRUCTURE or not is_tiff(path):
            return path.stat().st_size == 0
        found = read_directories(path)
    except (TiffHeaderError, OSError):
        return False
    if not found:
        return False
    largest = max(found, key=lambda directory: directory.size_px[0] * directory.size_px[1])
    tiled = [directory for directory in found if directory.tile_px is not None]
    return largest.tile_px is not None and all(
        directory.compression in _COMPRESSIONS and directory.tile_px is not None and min(directory.tile_px) > 0
        for directory in tiled
    )


def why_opening_dies(path: Path) -> str:
    """Open a slide whose worker died once more, in a process of its own; say how OpenSlide ends it, "" if it does not.

    Slides whose headers pass are not tried: they do no harm.
    """
    if headers_pass(path):
        return ""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _OPEN, str(path)], capture_output=True, timeout=_OPEN_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    if done.returncode >= 0:
        return ""
    said = one_line(done.stderr.decode(errors="replace").strip())[-200:]
    why = f" ({said})" if said else ""
    return f"OpenSlide ends with signal {-done.returncode} as soon as it opens {path}{why}: the file is damaged"
