"""The segmentation and outline parameters of one slide.

Each value comes from the first of these that gives it: the slide's cell of the process list, the config's
segmentation_arguments or visualization_arguments, the preset's row, CLAM's built-in default. Fractions of a_t and a_h
are kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from mil_heatmaps.config.schema import Config
from mil_heatmaps.config.tissue_sections import SegmentationArguments, VisualizationArguments
from mil_heatmaps.config.validation_errors import describe_cell
from mil_heatmaps.errors import ConfigError, ProcessListError
from mil_heatmaps.files.csv_tables import read_table
from mil_heatmaps.slides.segmentation_params import SegmentationParams
from mil_heatmaps.words import did_you_mean

Layer = TypeVar("Layer", SegmentationArguments, VisualizationArguments)

BLANKS = frozenset({"", "nan", "NaN", "NA", "N/A", "n/a", "#N/A", "NULL", "null", "None", "<NA>"})
"""Cell texts that mean "no value" to pandas, with which CLAM reads its tables."""


SEGMENTATION_KEYS = tuple(SegmentationArguments.model_fields)
VISUALIZATION_KEYS = tuple(VisualizationArguments.model_fields)
PARAMETER_KEYS = (*SEGMENTATION_KEYS, *VISUALIZATION_KEYS)


@dataclass(frozen=True)
class SlideParams:
    """All parameters of one slide."""

    segmentation: SegmentationArguments = field(default_factory=SegmentationArguments.model_construct)
    visualization: VisualizationArguments = field(default_factory=VisualizationArguments.model_construct)

    def __hash__(self) -> int:  # of some values only: it is asked for once a row of a long process list
        return hash((self.segmentation.sthresh, self.segmentation.a_t, self.visualization.line_thickness))

    @cached_property  # most slides share their parameters
    def of_tissue(self) -> SegmentationParams:
        """How tissue is found, as `segment_tissue` takes it."""
        return self.segmentation.params

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
    """Return `base` with every value that was given to the two sections in its place."""
    return SlideParams(_over(base.segmentation, segmentation), _over(base.visualization, visualization))


def _over(base: Layer, given: Layer) -> Layer:
    return base.model_copy(update={key: getattr(given, key) for key in given.model_fields_set})


def cohort_params(cfg: Config) -> SlideParams:
    """Return the parameters every slide has unless its row says otherwise."""
    base = SlideParams() if cfg.inputs.preset is None else read_preset(cfg.inputs.preset)
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
