"""Find files by their stem, a slide's name without extension; a folder is listed once for all slides."""

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.names import comparable, extension_of, names_of_slide, nfc, stem_of
from mil_heatmaps.words import first_of

_MOST_HINTS = 50
"""Most messages of one index that name similar files; the search is slow in a long list."""

_SEPARATORS = "._- "
"""Characters between a slide's name and the rest of the name of a file made from the slide."""


def list_files(
    folder: Path, extensions: Sequence[str], *, recursive: bool = True, skip: Sequence[str] = ()
) -> Iterator[Path]:
    """Yield the files below `folder` with one of `extensions`, folders and names in order.

    Links to folders are followed, once each. Hidden files and folders, the data folder beside a ``.mrxs``, and folders
    whose name starts with one of `skip` are left out.
    """
    for here, names in walk_folders(folder, recursive=recursive, skip=skip):
        for name in names:
            if extension_of(name, extensions):
                yield Path(here, name)


def walk_folders(folder: Path, *, recursive: bool = True, skip: Sequence[str] = ()) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder that `list_files` looks in, with the names of its files that are not hidden, in order."""
    left_out = (".", *skip)
    seen: set[str] = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        data_of = {name[:-5] for name in names if name.lower().endswith(".mrxs")}
        folders[:] = sorted(f for f in folders if recursive and not f.startswith(left_out) and f not in data_of)
        yield here, sorted(name for name in names if not name.startswith("."))


class StemIndex:
    """Files of some folders by stem.

    Names are compared in NFC, extensions in any case.

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
        self._by_name: dict[str, list[Path]] = {}

    @property
    def nouns(self) -> str:
        """What several of the files are: feature files, regions of interest."""
        head, of, rest = self.noun.partition(" of ")
        return f"{head}s{of}{rest}"

    @cached_property
    def by_stem(self) -> dict[str, list[Path]]:
        """The files of each stem, in the order they were found; listed on first use."""
        by_stem: dict[str, list[Path]] = {}
        listed: Iterable[Path] = (path for folder in self.folders for path in self._listed(folder))
        if len(self.folders) > 1:  # a folder may be given twice, or lie in another one
            listed = dict.fromkeys(listed)
        for path in listed:
            name = path.name
            by_stem.setdefault(comparable(stem_of(name, self.extensions)), []).append(path)
            self._by_name.setdefault(nfc(name), []).append(path)
        if len(self.folders) > 1:
            for found in (*by_stem.values(), *self._by_name.values()):
                if len(found) > 1:  # two paths to one file count once
                    found[:] = {os.path.realpath(path): path for path in reversed(found)}.values()
                    found.reverse()
        return by_stem

    def _listed(self, folder: Path) -> Iterator[Path]:
        """Yield the files of one folder."""
        return list_files(folder, self.extensions, recursive=self.recursive, skip=self.skip)

    @property
    def repeated(self) -> dict[str, Sequence[Path]]:
        """The stems that several equally near files share, with those files."""
        best = ((stem, self.nearest(paths)) for stem, paths in self.by_stem.items() if len(paths) > 1)
        return {stem: paths for stem, paths in best if len(paths) > 1}

    def names_of(self, path: Path) -> tuple[str, ...]:
        """Return the stems that other files of the slide at `path` may have, best first."""
        return names_of_slide(path.name, self.extensions)

    def stems_for(self, name: str) -> tuple[str, ...]:
        """Return the stems under which files of a slide called `name` lie, best first."""
        return (name,)

    def get(self, *names: str) -> Path | None:
        """Return the file of a slide, or None when there is none.

        Parameters
        ----------
        *names : str
            Names of the slide: stems, or file names with extension. The first name that has a file counts.

        Raises
        ------
        `error`
            Several files share the name.
        """
        for name in names:
            for stem in self.stems_for(name):
                if found := self._files(stem):
                    best = self.nearest(found)
                    if len(best) > 1:
                        raise self.error(self.too_many(names[0], best))
                    return best[0]
        return None

    def stem_for(self, *names: str) -> str | None:
        """Return the key in `by_stem` of a slide's files, None when it has none; see `get`."""
        keys = (comparable(stem) for name in names for stem in self.stems_for(name))
        return next((key for key in keys if key in self.by_stem), None)

    def too_many(self, name: str, paths: Sequence[Path]) -> str:
        """Return the message for several files that share a name."""
        return (
            f"{len(paths)} {self.nouns} are named {name!r}: {first_of(paths, 4)}; keep one, or name a narrower folder"
        )

    def _files(self, name: str) -> list[Path]:
        by_stem = self.by_stem
        found = self._by_name.get(nfc(name)) or by_stem.get(comparable(name))
        return found or by_stem.get(comparable(stem_of(name, self.extensions))) or []

    def find(self, *names: str) -> Path:
        """Return the file of a slide; a missing file, or several files of the name, is an error.

        Raises
        ------
        `error`
            The message gives the unusable files of the slide, or the most similar names.
        """
        if (path := self.get(*names)) is not None:
            return path
        name, where = names[0], first_of(self.folders, 5)
        unused = self.unused(*names)
        if not where:
            raise self.error(f"no {self.noun} for {name!r}: there is no folder to look in")
        if not self.by_stem:
            what = unused or f"nothing in {where} ends with {', '.join(self.extensions)}"
            raise self.error(f"no {self.noun} for {name!r}: {what}")
        hint = f"; {unused}" if unused else self._hint(name)
        raise self.error(f"no {self.noun} for {name!r} among {len(self.by_stem)} in {where}{hint}")

    def unused(self, *names: str, longer: bool = False) -> str:
        """Return which files of a slide in the folders cannot be used, and why; empty if there are none.

        `longer` includes files that could be used except for their name, such as ``S_tissue.geojson``.
        """
        files, own = self._other_files, frozenset(map(nfc, names))
        for name in own:
            found: dict[str, str] = {}
            for place in range(bisect_left(files, (name, "")), len(files)):
                other, path = files[place]
                if not other.startswith(name):
                    break
                is_slide = other in own and extension_of(other) is not None
                if other[len(name) : len(name) + 1] not in _SEPARATORS or is_slide:
                    continue
                if why := self._why_unused(Path(path), names, longer):
                    found[path] = why
            if found:
                first = next(iter(found.values()))
                alike = [path for path, why in found.items() if why == first]
                return f"{first_of(alike, 3)} cannot be used: {first}"
        return ""

    def _why_unused(self, path: Path, names: Sequence[str], longer: bool) -> str:
        if extension_of(path.name, self.extensions) is None:
            return f"only files that end with {', '.join(self.extensions)} are read as {self.nouns}"
        if path.is_dir():
            return f"it is a folder, no {self.noun}"
        inside = {part for folder in self.folders if path.is_relative_to(folder)
                  for part in path.relative_to(folder).parts[:-1]}  # fmt: skip
        if skipped := sorted(part for part in inside if part.startswith(self.skip)):
            return f"files in a folder {skipped[0]} are no {self.nouns}"
        if not longer:
            return ""
        stems = dict.fromkeys(stem for name in names for stem in self.stems_for(name))
        return f"{self.nouns} of this slide are called {' or '.join(stems)}, up to the extension"

    @cached_property
    def _other_files(self) -> list[tuple[str, str]]:
        """Name in NFC and path of everything in the folders, by name; listed when a file is first missing."""
        return sorted(
            (nfc(name), os.path.join(here, name))
            for folder in self.folders
            for here, names in self._walk(folder)
            for name in names
        )

    def _walk(self, folder: Path) -> Iterator[tuple[str, list[str]]]:
        """Yield each folder with its files, and the folders in it that are named like files."""
        for here, names in walk_folders(folder, recursive=self.recursive):
            above, own = os.path.split(here)
            if extension_of(own, self.extensions):
                yield above, [own]
            yield here, names

    def _hint(self, name: str) -> str:
        """Return the end of a message that shows the names most like `name`."""
        self._missed += 1
        if self._missed > _MOST_HINTS:
            return ""
        stem = nfc(stem_of(name, self.extensions))
        alike = [other for other in self.by_stem if other.startswith(stem) or stem.startswith(other)][:3]
        alike = alike or get_close_matches(stem, list(self.by_stem)[:20000], n=3, cutoff=0.75)
        if alike:
            return f"; the nearest names are {', '.join(alike)}"
        return f"; names there look like {next(iter(self.by_stem))}"

    def nearest(self, paths: Sequence[Path]) -> Sequence[Path]:
        """Return the files to choose from: those nearest to the folders themselves, not deeper inside them."""
        if len(paths) == 1:
            return paths
        depths = [self._depth(path) for path in paths]
        return [path for path, depth in zip(paths, depths, strict=True) if depth == min(depths)]

    def _depth(self, path: Path) -> int:
        parents = (folder for folder in self.folders if path.is_relative_to(folder))
        return min(len(path.parts) - len(folder.parts) for folder in parents)
