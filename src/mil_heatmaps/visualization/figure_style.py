"""How a figure fits its medium: format, resolution, width, size of letters, panels."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from mil_heatmaps.choices import FigureFormat
from mil_heatmaps.errors import ConfigError

Panel = Literal["slide", "map", "beside", "bar", "histogram", "patches", "curves"]
PANELS: tuple[Panel, ...] = get_args(Panel)

LEAST_PT = 6.0
"""Smallest size of letters in points, at the width the figure is made for."""
SCREEN_DPI, PRINT_DPI = 150, 300
_TEXT_PT, _SMALL_PT, _TITLE_PT = 9.5, 8.0, 15.0
_MM, _POINTS = 25.4, 72


@dataclass(frozen=True)
class FigureStyle:
    """Format and size of a figure. Without a width, it is as large as its content needs.

    Attributes
    ----------
    format : ``png``, ``pdf``, ``svg``
        In PDF and SVG, text, bars and boxes are vectors; pictures are embedded at `dpi`.
    dpi : int
    width_mm, height_mm : float or None
        Size of the page. A given height is kept: unused space stays white.
    font_pt : float or None
        Size of most letters; no letter is smaller than `LEAST_PT`.
    panels : tuple of Panel
        Panels to show, if the figure has them.

    Raises
    ------
    ConfigError
        For a panel that does not exist, panels without slide or map, or a width or font size outside its limits.
    """

    format: FigureFormat = "png"
    dpi: int = SCREEN_DPI
    width_mm: float | None = None
    height_mm: float | None = None
    font_pt: float | None = None
    panels: tuple[Panel, ...] = PANELS

    def __post_init__(self) -> None:
        if unknown := [panel for panel in self.panels if panel not in PANELS]:
            raise ConfigError(f"unknown panel {unknown[0]!r} of the figure; choose from {', '.join(PANELS)}")
        if not {"slide", "map"} & set(self.panels):
            raise ConfigError("the figure's panels must hold the slide or the map")
        if self.width_mm is not None and not 40 <= self.width_mm <= 2000:
            raise ConfigError(f"width_mm of the figure must be 40 to 2000, got {self.width_mm:g}")
        if self.font_pt is not None and not LEAST_PT <= self.font_pt <= 72:
            raise ConfigError(f"font_pt of the figure must be {LEAST_PT:g} to 72, got {self.font_pt:g}")

    def of_file(self, path: str | os.PathLike[str]) -> "FigureStyle":
        """Return the style with the format of a file's suffix; any suffix but PDF and SVG means pixels."""
        suffix = Path(path).suffix.lower()
        return replace(self, format="pdf" if suffix == ".pdf" else "svg" if suffix == ".svg" else "png")

    @property
    def width(self) -> float | None:
        """In inches."""
        return None if self.width_mm is None else self.width_mm / _MM

    @property
    def height(self) -> float | None:
        """In inches."""
        return None if self.height_mm is None else self.height_mm / _MM

    @property
    def text(self) -> float:
        """Size of most letters, in points."""
        if self.font_pt is not None:
            return self.font_pt
        return _TEXT_PT if self.width_mm is None else 7.0

    @property
    def unit(self) -> float:
        """Factor for lengths on the page; 1 at the default size of letters."""
        return self.text / _TEXT_PT

    @property
    def small(self) -> float:
        return max(LEAST_PT, _SMALL_PT * self.unit)

    @property
    def step(self) -> float:
        """Distance from one line of small letters to the next, in inches."""
        return max(0.17 * self.unit, 1.45 * self.small / _POINTS)

    @property
    def under_ticks(self) -> float:
        """How far the numbers below an axis reach, in inches."""
        return (6.5 + 1.25 * self.small) / _POINTS

    @property
    def title(self) -> float:
        return max(LEAST_PT, _TITLE_PT * self.unit)


PRESETS: dict[str, FigureStyle] = {
    "journal_single": FigureStyle("pdf", PRINT_DPI, 88.0, None, 6.0),
    "journal_double": FigureStyle("pdf", PRINT_DPI, 180.0, None, 7.0),
    "slide_16_9": FigureStyle("png", 150, 338.67, 190.5, 11.0, ("slide", "map", "bar", "patches", "curves")),
}
"""One column of a journal, its full width, and a page of a presentation."""
