"""The slide named in a file, and whether it is the slide that the scores are drawn on."""

import re
import unicodedata
from collections.abc import Mapping
from pathlib import PurePath, PureWindowsPath
from typing import Any

from mil_heatmaps.files.hdf5 import text_attribute
from mil_heatmaps.notices import Notice

_SAID_IN = ("name", "slide_id", "slide_name", "wsi_name")

_EXTENSION = re.compile(r"(\.ome)?\.[a-z][a-z0-9]{1,7}", re.IGNORECASE)


def names_slide(said: str, name: str) -> bool:
    """Say whether `said`, with or without extension and folder, is the slide `name`; compared in Unicode NFC."""
    said, name = (unicodedata.normalize("NFC", text.strip()) for text in (said, name))
    for text in (said, PureWindowsPath(said).name):  # PureWindowsPath knows both kinds of slashes
        if text.startswith(name) and (text == name or _EXTENSION.fullmatch(text, len(name))):
            return True
    return False


def pairing_notes(attributes: Mapping[str, Any], name: str | None, where: str) -> list[Notice]:
    """Return a note when a file names another slide than `name`. It is only a note, because people rename files."""
    said = [text for key in _SAID_IN if (text := text_attribute(attributes, key)) is not None]
    if name is None or not said or any(names_slide(text, name) for text in said):
        return []
    return [Notice("pairing", f"{PurePath(where).name} says it is of the slide {said[0]}, and is drawn on {name}")]
