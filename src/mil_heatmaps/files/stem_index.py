"""Find files by their stem, a slide's name without extension; a folder is listed once for all slides."""

import os
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.words import first_of

_COMPOUND = (".ome",)
_MOST_HINTS = 50
"""So many messages of one index name similar files; the search is slow in a long list."""


@lru_cache(maxsize=64)
def _by_dots(extensions: tuple[str, ...]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the extensions of one dot, and the others, in small letters."""
    lower = [ext.lower() for ext in extensions]
    single = frozenset(ext for ext in lower if ext.rfind(".") == 0)
    return single, tuple(sorted((ext for ext in lower if ext not in single), key=len, reverse=True))


def extension_of(name: str, extensions: Sequence[str]) -> str | None:
    """Return the longest of `extensions` that `name` ends with, as `name` spells it, or None.

    ``.ome`` before it belongs to it: the extension of ``A.ome.tif`` is ``.ome.tif``.
    """
    folded = name.lower()
    single, others = _by_dots(tuple(extensions))
    if folded.endswith(others):
        end = len(folded) - len(next(ext for ext in others if folded.endswith(ext)))
    else:
        end = folded.rfind(".")
        if end < 0 or folded[end:] not in single:
            return None
    for part in _COMPOUND:
        if folded.endswith(part, 0, end) and end > len(part):
            end -= len(part)
    return name[end:]


def stem_of(name: str, extensions: Sequence[str]) -> str:
    """Return `name` without its extension; dots that belong to the name, as in TCGA's, stay."""
    extension = extension_of(name, extensions)
    return name[: -len(extension)] if extension else name


def list_files(
    folder: Path, extensions: Sequence[str], *, recursive: bool = True, skip: Sequence[str] = ()
) -> Iterator[Path]:
    """Yield the files below `folder` with one of `extensions`, folders and names in order.

    Links to folders are followed, once each. Left out are hidden files and folders, the data folder beside a
    ``.mrxs``, and folders whose name starts with one of `skip`.
    """
    left_out = (".", *skip)
    seen: set[str] = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        data_of = {name[:-5] for name in names if name.lower().endswith(".mrxs")}
        folders[:] = sorted(
            f for f in folders if recursive and not f.startswith(left_out) and f not in data_of
        )
        for name in sorted(names):
            if not name.startswith(".") and extension_of(name, extensions):
                yield Path(here, name)


class StemIndex:
    """Files of some folders by stem.

    Parameters
    ----------
    folders : paths of existing folders
    extensions : with their dots; the spelling of case does not matter
    recursive : look in folders inside, too
    noun : what the files are, for messages
    error : class of the errors raised
    skip : beginnings of the names of folders not to look in
    """

    def __init__(
        self,
        folders: Sequence[Path],
        extensions: Sequence[str],
        *,
        recursive: bool = True,
        noun: str = "file",
        error: type[HeatmapError] = HeatmapError,
        skip: Sequence[str] = (),
    ) -> None:
        self.folders = tuple(folders)
        self.extensions = tuple(extensions)
        self.recursive = recursive
        self.noun = noun
        self.error = error
        self.skip = tuple(skip)
        self._missed = 0
        self._by_stem: dict[str, list[Path]] | None = None
        self._by_name: dict[str, list[Path]] = {}

    @property
    def by_stem(self) -> dict[str, list[Path]]:
        """The files of each stem, in the order they were found; listed on first use."""
        if self._by_stem is None:
            self._by_stem = {}
            for folder in self.folders:
                for path in list_files(folder, self.extensions, recursive=self.recursive, skip=self.skip):
                    self._by_stem.setdefault(stem_of(path.name, self.extensions), []).append(path)
                    self._by_name.setdefault(path.name, []).append(path)
        return self._by_stem

    @property
    def repeated(self) -> dict[str, list[Path]]:
        """The stems that several files share."""
        return {stem: paths for stem, paths in self.by_stem.items() if len(paths) > 1}

    def get(self, name: str) -> Path | None:
        """Return the file of `name` (a stem, or a file name with extension), or None when there is none.

        Raises
        ------
        `error`
            When several files share it.
        """
        by_stem = self.by_stem
        found = self._by_name.get(name) or by_stem.get(name) or by_stem.get(stem_of(name, self.extensions))
        if not found:
            return None
        best = self._preferred(found)
        if len(best) > 1:
            raise self.error(
                f"{len(best)} {self.noun}s are named {name!r}: {first_of(best, 4)}; keep one, or name a narrower folder"
            )
        return best[0]

    def find(self, name: str) -> Path:
        """Return the file of `name`; one that is missing or named alike several times is an error.

        Raises
        ------
        `error`
            With the names most like it.
        """
        if (path := self.get(name)) is not None:
            return path
        if not self.folders:
            raise self.error(f"no {self.noun} for {name!r}: no folder to look in is known")
        where = first_of(self.folders, 5)
        if not self.by_stem:
            raise self.error(
                f"no {self.noun} for {name!r}: nothing in {where} ends with {', '.join(self.extensions)}"
            )
        raise self.error(
            f"no {self.noun} for {name!r} among {len(self.by_stem)} in {where}{self._hint(name)}"
        )

    def _hint(self, name: str) -> str:
        """Return the end of a message that shows the names most like `name`."""
        self._missed += 1
        if self._missed > _MOST_HINTS:
            return ""
        stem = stem_of(name, self.extensions)
        alike = [other for other in self.by_stem if other.startswith(stem) or stem.startswith(other)][:3]
        alike = alike or get_close_matches(stem, list(self.by_stem)[:20000], n=3, cutoff=0.75)
        if alike:
            return f"; the nearest names are {', '.join(alike)}"
        return f"; names there look like {next(iter(self.by_stem))}"

    def _preferred(self, paths: Sequence[Path]) -> Sequence[Path]:
        """Return the files to choose from: those in the folders themselves, else those in folders inside."""
        if len(paths) == 1:
            return paths
        return [path for path in paths if path.parent in self.folders] or paths
