"""The middle of a run's diverging maps where it is the median over the cohort: read from the slide's record."""

import math
from collections.abc import Mapping
from pathlib import Path

from mil_heatmaps.records.slide_record import read_record
from mil_heatmaps.viewer.catalog import Defaults
from mil_heatmaps.viewer.layers import ScoreLayer
from mil_heatmaps.viewer.run_defaults import COHORT

UNKNOWN = (
    "the run centres its maps at the cohort's median, which its record of this slide does not tell (the map was not "
    "drawn yet); here they run from end to end"
)


def cohort_medians(record: Path) -> dict[str, float]:
    """Return the medians that the slide's maps were drawn with, by column; empty where the record has none."""
    told: object = read_record(record)
    for key in ("stages", "heatmap", "inputs", "cohort_medians"):
        told = told.get(key) if isinstance(told, Mapping) else None
    if not isinstance(told, Mapping):
        return {}
    numbers = {str(name): value for name, value in told.items() if isinstance(value, int | float)}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def middles_of(layers: list[ScoreLayer], defaults: Defaults) -> tuple[dict[str, float], list[str]]:
    """Return the medians for the drawn score of a file, which is its main one, and notices about them."""
    main = layers[0]
    if defaults.center != COHORT or not main.is_signed:
        return {}, []
    medians = cohort_medians(main.named.record)
    return medians, [] if any(name in medians for name in main.scores.names) else [UNKNOWN]
