"""Find the slides of a cohort."""

from collections.abc import Sequence
from pathlib import Path

from mil_heatmaps.errors import SlideError
from mil_heatmaps.files.stem_index import StemIndex, list_files


class SlideIndex(StemIndex):
    """Slides by slide_id."""

    def __init__(self, folders: Sequence[Path], extensions: Sequence[str], *, recursive: bool = True) -> None:
        super().__init__(folders, extensions, recursive=recursive, noun="slide", error=SlideError)


def list_slides(folders: Sequence[Path], extensions: Sequence[str], *, recursive: bool = True) -> list[Path]:
    """Return every slide below `folders`, sorted by name within each."""
    found = [path for folder in folders for path in list_files(folder, extensions, recursive=recursive)]
    return list(dict.fromkeys(found))
