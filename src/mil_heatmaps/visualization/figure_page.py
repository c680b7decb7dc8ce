"""The page of a figure: places axes and words in inches, measures and wraps words, and writes the page to a file."""

import io
import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mil_heatmaps.files.atomic import atomic_path
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.visualization.figure_style import FigureStyle
from mil_heatmaps.visualization.picture_files import FileFacts, save_picture
from mil_heatmaps.words import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LARGE = 8
_ROOM = 1e-6  # inches that rounding may add to a line
VECTORS = ("pdf", "svg")


@lru_cache(maxsize=1)
def _measurer() -> Any:
    from matplotlib.backends.backend_agg import RendererAgg

    return RendererAgg(8, 8, 72)


@lru_cache(maxsize=4096)
def text_width(words: str, points: float, *, bold: bool = False) -> float:
    """Return the width of words in inches; spaces at the ends count."""
    from matplotlib.font_manager import FontProperties

    # Large letters, because small ones are fitted to pixels. The bars are there because trailing spaces have no width.
    shown = printable(words, keep=_SHAPING)
    font = FontProperties(size=_LARGE * points, weight="bold" if bold else "normal")
    framed, frame = (
        _measurer().get_text_width_height_descent(text, font, ismath=False)[0] for text in (f"|{shown}|", "||")
    )
    return float(framed - frame) / (72 * _LARGE)


def wrapped(words: str, points: float, width: float, *, bold: bool = False) -> list[str]:
    """Return words in lines no wider than `width` inches; a wider word may break anywhere."""
    lines: list[str] = []
    held, room = "", 0.0
    for piece in _pieces(printable(words, keep=_SHAPING)):
        wide = text_width(piece.rstrip(), points, bold=bold)
        if held and room + wide > width + _ROOM:
            lines.append(held.rstrip())
            held, room = "", 0.0
        while wide > width + _ROOM and len(piece) > 1:
            end = _fitting(piece, points, width, bold=bold)
            lines.append(piece[:end])
            piece = piece[end:]
            wide = text_width(piece.rstrip(), points, bold=bold)
        held, room = held + piece, room + text_width(piece, points, bold=bold)
    return [*lines, held.rstrip()] if held.strip() else lines


def _pieces(words: str) -> list[str]:
    """Return the words, each with the spaces after it; a dot between facts stays with the preceding fact."""
    out: list[str] = []
    for piece in words.replace("  ·  ", " ·\0").split(" "):
        out += [part.replace("\0", " ") for part in piece.replace("·\0", "·\0\n").split("\n") if part]
        if out and not out[-1].endswith(" "):
            out[-1] += " "
    return out


def _fitting(piece: str, points: float, width: float, *, bold: bool) -> int:
    """Return how many characters of a piece fit into a line, at least one."""
    low, high = 1, len(piece)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if text_width(piece[:middle], points, bold=bold) <= width else (low, middle - 1)
    after = max(piece.rfind(sign, 0, low) for sign in "_-/.") + 1
    return after if after > low / 2 else low


@lru_cache(maxsize=1)
def _figure_class() -> "type[Figure]":
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    class PlainFigure(Figure):
        """A figure that shows every word as it is: names may hold dollar signs, which matplotlib takes for formulas."""

        def draw(self, renderer: Any) -> None:
            for text in self.findobj(Text):
                text.set_parse_math(False)
            super().draw(renderer)

    return PlainFigure


class Page:
    """A figure whose axes are placed in inches from its top-left corner."""

    def __init__(self, width: float, height: float, style: FigureStyle | None = None) -> None:
        self.style = style or FigureStyle()
        self.width, self.height = width, height
        if self.style.format not in VECTORS:  # whole pixels; otherwise rounding may lose one
            width, height = ((round(side * self.style.dpi) + 1e-6) / self.style.dpi for side in (width, height))
        self.figure = _figure_class()(figsize=(width, height), dpi=self.style.dpi, facecolor="white")

    def axes(self, left: float, top: float, width: float, height: float) -> Any:
        bottom = self.height - top - height
        return self.figure.add_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))

    def write(self, left: float, top: float, words: str, **style: Any) -> Any:
        place = left / self.width, 1 - top / self.height
        return self.figure.text(*place, _plain(words), **{"parse_math": False, **style})

    def write_lines(self, left: float, top: float, lines: Sequence[str], step: float, **style: Any) -> None:
        """Write lines below one another, with the middle of the first at `top`."""
        for nth, words in enumerate(lines):
            self.write(left, top + nth * step, words, va="center", **style)

    def box(self, left: float, top: float, width: float, height: float, **style: Any) -> None:
        """Draw a rectangle on the page."""
        from matplotlib.patches import Rectangle

        corner = left / self.width, 1 - (top + height) / self.height
        patch = Rectangle(
            corner, width / self.width, height / self.height, transform=self.figure.transFigure, **style
        )
        self.figure.add_artist(patch)

    def rendered(self) -> UInt8Array:
        """Return the pixels, (height, width, 3)."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()
        return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])

    def save(
        self, path: str | os.PathLike[str], texts: Mapping[str, str] | None = None, *, icc_profile: bytes | None = None
    ) -> None:
        """Write the page in the format of the suffix. `texts` say where the figure comes from, by name.

        The file holds no date, so equal content gives equal bytes.
        """
        suffix, texts = Path(path).suffix.lower(), dict(texts or {})
        if suffix == ".pdf":
            with atomic_path(path) as partial:
                partial.write_bytes(self._pdf(texts))
        elif suffix == ".svg":
            with atomic_path(path) as partial:
                partial.write_bytes(self._svg(texts))
        else:
            facts = FileFacts(icc_profile=icc_profile, dpi=self._true_dpi(), texts=texts)
            save_picture(path, self.rendered(), facts=facts)

    def _true_dpi(self) -> float:
        """Return the dots per inch at which the picture's whole pixels are exactly as wide as the page."""
        return round(self.width * self.style.dpi) / self.width

    def _pdf(self, texts: dict[str, str]) -> bytes:
        from matplotlib import rc_context

        from mil_heatmaps.visualization.pdf_pictures import with_jpeg_pictures

        out = io.BytesIO()
        facts = {
            "Creator": texts.get("Software", "mil-heatmaps"), "Producer": "Matplotlib", "CreationDate": None,
            "Title": texts.get("Title"), "Subject": texts.get("Description"),
            "Keywords": "; ".join(f"{name}: {text}" for name, text in texts.items() if name not in _NAMED) or None,
        }  # fmt: skip
        with rc_context({"pdf.fonttype": 42, "image.composite_image": False}):
            known = {name: text for name, text in facts.items() if text or name == "CreationDate"}
            self.figure.savefig(out, format="pdf", metadata=known)
        return with_jpeg_pictures(out.getvalue())

    def _svg(self, texts: dict[str, str]) -> bytes:
        from matplotlib import rc_context

        out = io.BytesIO()
        facts = {
            "Date": None, "Creator": texts.get("Software", "mil-heatmaps"), "Title": texts.get("Title"),
            "Description": texts.get("Description"),
            "Keywords": [f"{name}: {text}" for name, text in texts.items() if name not in _NAMED],
        }  # fmt: skip
        settings = {"svg.fonttype": "none", "svg.hashsalt": "mil-heatmaps", "image.composite_image": False}
        with rc_context(settings):
            self.figure.savefig(out, format="svg", metadata={k: v for k, v in facts.items() if v or k == "Date"})
        return out.getvalue()


_NAMED = ("Software", "Title", "Description")


_NUMBER_AFTER = re.compile("([\u0590-\u08ff\ufb1d-\ufefc])( [0-9<>])")
_SHAPING = "\u200c\u200d\u200e\u200f"
"""Invisible characters that join letters or set their direction."""


def _plain(words: str) -> str:
    """Return words in a form that can be drawn; see `printable`.

    A number after right-to-left letters stays to the right of them, as in an English sentence.
    """
    kept, numbers = _NUMBER_AFTER.subn("\\1\u200e\\2", printable(words, keep=_SHAPING))
    return f"\u200e{kept}" if numbers else kept
