"""Tables of other tools, recognised by their columns: QuPath's measurement exports, and slideflow's tile tables.

Names ending ``_l0`` are level-0 pixels, ``_um`` micrometres.
"""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.features.geometry import positive_pair
from mil_heatmaps.features.grid_step import infer_step
from mil_heatmaps.features.slideflow import CENTRES, settings_beside
from mil_heatmaps.features.units import Unit, needed_mpp
from mil_heatmaps.notices import Notice
from mil_heatmaps.scores.score_tables import numbers, score_columns, values_of
from mil_heatmaps.scores.told_scores import ToldScores
from mil_heatmaps.slides.slide_space import SlideSpace
from mil_heatmaps.words import counted

if TYPE_CHECKING:
    import pandas as pd

_CENTROID = re.compile(r"centroid ([xy]) \(?(\u03bcm|um|px|pixels?)\)?")
_SHAPE = re.compile(
    r"(.*[ _(])?(\u03bcm|um|px)(\^?2|\u00b2)?\)?|.*circularity|.*solidity|num .*|centroid .*"
    r"|image|name|class|classification|parent|roi|object (?:id|type)"
)
"""QuPath's measurements of shape and position, which end in a unit of length or area, its counts, and its texts,
which may be empty."""

_SECOND = re.compile(r"(?:.*-)?y_pred(\d+)|(?:.*-)?uncertainty(\d*)")
_PATCHES = ("detection", "tile", "cell")


def tool_scores(
    table: "pd.DataFrame",
    space: SlideSpace,
    columns: Sequence[str] | None,
    patch_size_l0: float | tuple[float, float] | None,
    path: Path,
) -> ToldScores | None:
    """Return the scores in a table of QuPath or slideflow, None for any other table.

    Raises
    ------
    ScoreError
        A value is not a number, a slide with micrometres has no known resolution, or a single tile has no known size.
    """
    plain = {str(column): _plain(str(column)) for column in table.columns}
    found = {match[1]: (column, match[2]) for column, name in plain.items() if (match := _CENTROID.fullmatch(name))}
    if set(found) == {"x", "y"}:
        return _qupath(table, found, space, columns, patch_size_l0, path)
    places = {name: column for column, name in plain.items() if name in ("loc_x", "loc_y")}
    if len(places) == 2:
        return _slideflow(table, places, columns, path)
    return None


def _plain(name: str) -> str:
    """Return a column's name in lower case, with the micro sign as the Greek letter and runs of blanks as one."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _qupath(
    table: "pd.DataFrame",
    found: dict[str, tuple[str, str]],
    space: SlideSpace,
    columns: Sequence[str] | None,
    patch_size_l0: float | tuple[float, float] | None,
    path: Path,
) -> ToldScores:
    table, notes = _patches_alone(table, path)
    (x, unit), (y, unit_y) = found["x"], found["y"]
    if unit != unit_y:
        raise ScoreError(f"{path}: {x!r} and {y!r} are in different units")
    centres = np.stack([numbers(table, x, path), numbers(table, y, path)], axis=1)
    if unit in ("\u03bcm", "um"):
        mpp = needed_mpp(Unit(1.0, "\u00b5m"), space, str(path))
        centres = centres / mpp
        text = f"centroids are \u00b5m, as the columns say: turned into pixels at {mpp:.6g} \u00b5m per pixel"
        notes.append(Notice("units", text))
    corners, size_l0, guessed = corners_around(centres, patch_size_l0, path)
    names = score_columns(table, columns, path, lambda name: _SHAPE.fullmatch(_plain(name)) is not None)
    attributes: dict[str, Any] = {"unit": "px", "patch_size_level0": size_l0}
    return ToldScores(corners, attributes, tuple(names), values_of(table, names, path), (*notes, *guessed))


def _patches_alone(table: "pd.DataFrame", path: Path) -> tuple["pd.DataFrame", list[Notice]]:
    """Return the rows of tiles, detections and cells, and a notice about others, such as annotations."""
    column = next((str(name) for name in table.columns if _plain(str(name)) == "object type"), None)
    if column is None:
        return table, []
    kinds = table[column].astype(str).str.casefold()
    patches = kinds.apply(lambda kind: any(word in kind for word in _PATCHES))
    if not patches.any():
        raise ScoreError(f"{path}: no tiles, detections or cells among its {counted(len(table), 'object')}")
    left = int((~patches).sum())
    return table[patches], other_objects(left, path) if left else []


def other_objects(count: int, path: Path) -> list[Notice]:
    """Return the notice about objects that are not patches."""
    text = f"{path.name} holds {counted(count, 'object')} besides its patches, such as annotations: left out"
    return [Notice("other_objects", text, objects=count)]


def corners_around(
    centres_l0: npt.NDArray[np.float64], patch_size_l0: float | tuple[float, float] | None, path: Path
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], list[Notice]]:
    """Return corners (N, 2), size (width, height), and a notice if the size is inferred from the centres' step."""
    said, notes = positive_pair({"size": patch_size_l0}, "size"), []
    if said is None:
        finite = np.isfinite(centres_l0).all() and len(centres_l0) > 0 and np.abs(centres_l0).max() < 1e9
        seen = infer_step(np.rint(centres_l0 * 10).astype(np.int64)) if finite else None
        if seen is None:
            raise ScoreError(
                f"{path}: it says where the centres of its tiles are, not how large they are, and no step of a grid "
                "shows it: set data_arguments.patch_size_level0 to the level-0 pixels that a tile covers"
            )
        said = float(max(1, round(seen.step_l0[0] / 10))), float(max(1, round(seen.step_l0[1] / 10)))
        text = f"the size of the tiles is not said: {said[0]:g} x {said[1]:g} px, their step, assuming no overlap"
        notes.append(Notice("patch_size", text))
    size = np.array(said, np.float64)
    return np.rint(centres_l0 - size / 2).astype(np.int64), size, notes


def _slideflow(
    table: "pd.DataFrame", places: dict[str, str], columns: Sequence[str] | None, path: Path
) -> ToldScores:
    """Return tile predictions: ``loc_x`` and ``loc_y`` are centres, ``...y_pred0`` the scores."""
    centres = np.stack([numbers(table, places[axis], path) for axis in ("loc_x", "loc_y")], axis=1)
    names = list(columns or ()) or [str(name) for name in table.columns if _SECOND.fullmatch(str(name))]
    if not names:
        used = set(places.values())
        names = score_columns(table, None, path, lambda name: name in used or "y_true" in name)
    else:
        score_columns(table, names, path)
    return ToldScores(
        centres, {CENTRES: True, **settings_beside(path)}, tuple(names), values_of(table, names, path)
    )
