"""Find the slides of a cohort."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from mil_heatmaps.errors import SlideError
from mil_heatmaps.files.names import DICOM_EXTENSION, comparable, nfc, stem_of
from mil_heatmaps.files.stem_index import StemIndex, list_files
from mil_heatmaps.slides.dicom_series import slides_in


class SlideIndex(StemIndex):
    """Slides by slide_id; the files of a DICOM series are one, see `slides_in`."""

    def __init__(self, folders: Sequence[Path], extensions: Sequence[str], *, recursive: bool = True) -> None:
        super().__init__(folders, extensions, recursive=recursive, noun="slide", error=SlideError)
        self._parts: dict[str, list[Path]] = {}

    def _listed(self, folder: Path) -> Iterator[Path]:
        found = list(super()._listed(folder))
        if any(path.name.lower().endswith(DICOM_EXTENSION) for path in found):
            for place, files in groupby(found, key=lambda path: path.parent):
                yield from self._with_series(place, list(files), inside=place != folder and place not in self.folders)
        else:
            yield from found
        if not self.recursive and DICOM_EXTENSION in map(str.lower, self.extensions):
            # A folder that is a slide lies in the folder of slides, like a file.
            for place in sorted(place for place in folder.iterdir() if place.is_dir()):
                if not place.name.startswith("."):
                    parts = list(list_files(place, [DICOM_EXTENSION], recursive=False))
                    yield from (path for path in self._with_series(place, parts, inside=True) if path == place)

    def _with_series(self, folder: Path, files: list[Path], *, inside: bool) -> list[Path]:
        """Return the files of one folder with its DICOM files grouped into slides."""
        dicom = [path for path in files if path.name.lower().endswith(DICOM_EXTENSION)]
        slides = slides_in(folder, dicom, inside=inside) if dicom else []
        for path in set(dicom).difference(slides):
            self._parts.setdefault(comparable(stem_of(path.name, self.extensions)), []).append(path)
        return [*(path for path in files if path not in dicom), *slides] if dicom else files

    def _files(self, name: str) -> list[Path]:
        """A list may name a slide by one of its DICOM files as well."""
        return super()._files(name) or self._parts.get(comparable(stem_of(name, self.extensions)), [])

    def slides(self) -> Iterator[tuple[str, Sequence[Path]]]:
        """Yield each slide_id with the slides that share it, usually one, in the order they were found."""
        for paths in self.by_stem.values():
            best = self.nearest(paths)
            yield stem_of(best[0].name, self.extensions), best

    def spelt(self, path: Path, name: str) -> str:
        """Return a slide's name from a list, spelt as in the slide's file; a name of another file stays."""
        own = stem_of(path.name, self.extensions) + name[len(stem_of(name, self.extensions)) :]
        return own if nfc(own) == nfc(name) else name

    def too_many(self, name: str, paths: Sequence[Path]) -> str:
        """Return the message for several slides that share a name."""
        return f"{super().too_many(name, paths)}, or list the one that is meant with its extension"
