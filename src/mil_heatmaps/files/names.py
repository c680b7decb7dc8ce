"""File names: the extensions of slides, a slide's name without its extension, and when two names are the same."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

SLIDE_EXTENSIONS = (
    ".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide", ".dcm", ".czi", ".qptiff",
    ".btf", ".tf2", ".tf8",
)  # fmt: skip
"""Default extensions of slides, in upper or lower case; ``.ome`` may stand before each."""

_KNOWN = frozenset(SLIDE_EXTENSIONS)

DICOM_EXTENSION = ".dcm"
"""Extension of files of which several may form one slide."""

PICTURE_EXTENSIONS = (".png", ".jpg", ".jpeg")
"""Endings of plain pictures, which are read as slides of one level where they are named."""

_COMPOUND = (".ome",)


_ODD_BYTE = re.compile(r"\\udc([89a-f][0-9a-f])")


def restored(text: str) -> str:
    """Return a name that `files.atomic.write_text` wrote as it was: bytes that are not UTF-8 stand as ``\\udcff``."""
    return _ODD_BYTE.sub(lambda found: chr(0xDC00 + int(found[1], 16)), text) if "\\udc" in text else text


def nfc(name: str) -> str:
    """Return `name` as names are compared: macOS writes an accent as a separate character, other systems do not."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def spellings(name: str) -> tuple[str, ...]:
    """Return the ways in which a file system may hold `name`."""
    if name.isascii():
        return (name,)
    return tuple(dict.fromkeys((name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD")))))


@lru_cache(maxsize=64)
def _by_dots(extensions: tuple[str, ...]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the extensions with one dot, and the others, in lower case."""
    lower = [ext.lower() for ext in extensions]
    single = frozenset(ext for ext in lower if ext.rfind(".") == 0)
    return single, tuple(sorted((ext for ext in lower if ext not in single), key=len, reverse=True))


def extension_of(name: str, extensions: Sequence[str] = SLIDE_EXTENSIONS) -> str | None:
    """Return the longest of `extensions` that `name` ends with, as `name` spells it, or None.

    ``.ome`` before it belongs to it: the extension of ``A.ome.tif`` is ``.ome.tif``.
    """
    if "." not in name:
        return None
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


def stem_of(name: str, extensions: Sequence[str] = SLIDE_EXTENSIONS) -> str:
    """Return `name` without its extension; dots that belong to the name, as in TCGA's, stay."""
    extension = extension_of(name, extensions)
    return name[: -len(extension)] if extension else name


def names_of_slide(file_name: str, extensions: Sequence[str] = SLIDE_EXTENSIONS) -> tuple[str, ...]:
    """Return the stems that files of a slide may have, best first: ``S``, ``S.svs``.

    For ``S.ome.tif`` they are ``S``, ``S.ome.tif`` and ``S.ome``, as some tools cut off the last ending only.
    """
    extension = extension_of(file_name, extensions)
    if not extension:
        return (file_name,)
    stem = file_name[: -len(extension)]
    short = extension.rfind(".")
    return (stem, file_name, *((file_name[: len(stem) + short],) if short else ()))


def slide_id_of(path: Path) -> str:
    """Return the name of the slide in a file, or in the folder of a DICOM series."""
    stem = stem_of(path.name, (*SLIDE_EXTENSIONS, *PICTURE_EXTENSIONS))
    return stem if stem != path.name or path.is_dir() else path.stem


def comparable(stem: str) -> str:
    """Return a stem as the keys of an index have it: in NFC, a slide's extension in it in lower case."""
    stem = nfc(stem)
    dot = stem.rfind(".")
    if dot < 0 or stem[dot:].lower() not in _KNOWN:  # nearly always: this runs for every file of a cohort
        return stem
    extension = extension_of(stem) or ""
    return stem.removesuffix(extension) + extension.lower()
