"""The segmentation and outline parameters of one slide, and where each value comes from.

CLAM's built-in defaults give way to the preset's row, that to what the config's segmentation_arguments and
visualization_arguments set, and that to a filled cell of the process list. Fractions of a_t and a_h are kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from mil_heatmaps.config.tissue_sections import SegmentationArguments, VisualizationArguments
from mil_heatmaps.config.validation_errors import describe_cell
from mil_heatmaps.errors import ConfigError, ProcessListError
from mil_heatmaps.files.csv_tables import read_table
from mil_heatmaps.words import did_you_mean

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config

BLANKS = frozenset({"", "nan", "NaN", "NA", "N/A", "n/a", "#N/A", "NULL", "null", "None", "<NA>"})
"""Cell texts that mean "no value", as pandas, which CLAM reads its tables with, understands them."""


@dataclass(frozen=True)
class SegmentationParams:
    """How the tissue of one slide is found; CLAM's names and built-in values."""

    seg_level: int = -1
    sthresh: int = 15
    mthresh: int = 11
    close: int = 2
    use_otsu: bool = False
    keep_ids: tuple[int, ...] = ()
    exclude_ids: tuple[int, ...] = ()
    a_t: float = 50.0
    a_h: float = 8.0
    max_n_holes: int = 10
    white_thresh: int = 5
    black_thresh: int = 50
    use_padding: bool = True
    contour_fn: str = "four_pt"

    @property
    def filter_params(self) -> dict[str, float | int]:
        """The area limits, as `segment_tissue` takes them."""
        return {"a_t": self.a_t, "a_h": self.a_h, "max_n_holes": self.max_n_holes}


@dataclass(frozen=True)
class VisualizationParams:
    """How the outlines of one slide are pictured; CLAM's names and built-in values."""

    vis_level: int = -1
    line_thickness: int = 250


SEGMENTATION_KEYS = tuple(field.name for field in fields(SegmentationParams))
VISUALIZATION_KEYS = tuple(field.name for field in fields(VisualizationParams))
PARAMETER_KEYS = (*SEGMENTATION_KEYS, *VISUALIZATION_KEYS)


@dataclass(frozen=True)
class SlideParams:
    """All parameters of one slide."""

    segmentation: SegmentationParams = SegmentationParams()
    visualization: VisualizationParams = VisualizationParams()

    def value(self, key: str) -> Any:
        """Return the parameter named `key`."""
        return getattr(self.segmentation if key in SEGMENTATION_KEYS else self.visualization, key)

    def with_cells(self, cells: Mapping[str, str]) -> "SlideParams":
        """Return these parameters with the filled cells of a table row in their place.

        Raises
        ------
        ProcessListError
            When a cell cannot be read as its parameter or is out of range.
        """
        given = {
            key: text.strip()
            for key, text in cells.items()
            if key in PARAMETER_KEYS and text.strip() not in BLANKS
        }
        return _with_values(self, tuple(given.items())) if given else self


@cache  # a cohort has few different settings, and many rows
def _with_values(base: SlideParams, given: tuple[tuple[str, Any], ...]) -> SlideParams:
    values = dict(given)
    try:
        segmentation = SegmentationArguments(**{k: v for k, v in values.items() if k in SEGMENTATION_KEYS})
        visualization = VisualizationArguments(**{k: v for k, v in values.items() if k in VISUALIZATION_KEYS})
    except ValidationError as error:
        reasons = [describe_cell(entry) for entry in error.errors(include_url=False)]
        raise ProcessListError("; ".join(reasons)) from error
    return _layered(base, segmentation, visualization)


def _layered(
    base: SlideParams, segmentation: SegmentationArguments, visualization: VisualizationArguments
) -> SlideParams:
    """Return `base` with every value the two sections set in its place."""
    seg = {key: value for key, value in segmentation.model_dump().items() if value is not None}
    vis = {key: value for key, value in visualization.model_dump().items() if value is not None}
    return SlideParams(
        SegmentationParams(**{**vars(base.segmentation), **seg}),
        VisualizationParams(**{**vars(base.visualization), **vis}),
    )


def cohort_params(cfg: "Config") -> SlideParams:
    """Return the parameters every slide has unless its row says otherwise."""
    base = SlideParams()
    if cfg.inputs.preset is not None:
        base = read_preset(cfg.inputs.preset)
    return _layered(base, cfg.segmentation_arguments, cfg.visualization_arguments)


def read_preset(path: Path) -> SlideParams:
    """Return the parameters in the first row of a preset table.

    Raises
    ------
    ConfigError
        When it has no row, an unknown column, or a value out of range.
    """
    try:
        return SlideParams().with_cells(read_preset_cells(path))
    except ProcessListError as error:
        raise ConfigError(f"the preset {path}: {error}") from error


def read_preset_cells(path: Path) -> dict[str, str]:
    """Return the first row of a preset table as it is written.

    Raises
    ------
    ConfigError
        When it cannot be read, has no row, or an unknown column.
    """
    try:
        columns, records = read_table(path)
    except ProcessListError as error:
        raise ConfigError(str(error)) from error
    if not records:
        raise ConfigError(f"the preset {path} holds no row of values")
    for name in columns:
        if name not in PARAMETER_KEYS:
            guess = did_you_mean(name, PARAMETER_KEYS)
            raise ConfigError(
                f"unknown column {name!r} in the preset {path}; {guess}"
                f"Choose from {', '.join(PARAMETER_KEYS)}"
            )
    return records[0][1]
