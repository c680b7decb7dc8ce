"""How a figure is made for its place: format, resolution, width, size of letters, panels."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from mil_heatmaps.choices import FigureFormat
from mil_heatmaps.errors import ConfigError

Panel = Literal["slide", "map", "beside", "bar", "histogram", "patches", "curves"]
PANELS: tuple[Panel, ...] = get_args(Panel)

LEAST_PT = 6.0
"""No letter of a figure is smaller, at the width it is made for."""
SCREEN_DPI, PRINT_DPI = 150, 300
_TEXT_PT, _SMALL_PT, _TITLE_PT = 9.5, 8.0, 15.0
_MM, _POINTS = 25.4, 72


@dataclass(frozen=True)
class FigureStyle:
    """What a figure is made for. Without a width it has the size its content needs.

    Attributes
    ----------
    format : ``png``, ``pdf``, ``svg``
        In PDF and SVG text, bars and boxes are vectors; pictures are embedded at `dpi`.
    dpi : int
    width_mm, height_mm : float or None
        Of the page. A height is kept, too: what does not fill it stays white.
    font_pt : float or None
        Size of most letters; none is smaller than `LEAST_PT`.
    panels : tuple of Panel
        What is shown, where there is such a thing.

    Raises
    ------
    ConfigError
        For a panel that does not exist, no panel at all, or a size that no letter fits.
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
        """Return the style with the format that a file's suffix says; any but PDF and SVG is one of pixels."""
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
        """What lengths on the page are multiplied by, 1 at the usual size of letters."""
        return self.text / _TEXT_PT

    @property
    def small(self) -> float:
        return max(LEAST_PT, _SMALL_PT * self.unit)

    @property
    def step(self) -> float:
        """From one line of small letters to the next, in inches."""
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
"""One column and the full width of a journal; a page of a presentation."""
