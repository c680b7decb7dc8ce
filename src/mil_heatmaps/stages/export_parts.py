"""What the exports of a slide share: their metadata, and what happens when a format cannot be written."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mil_heatmaps.errors import MissingDependencyError, ScoreError
from mil_heatmaps.notices import Notice, distinct
from mil_heatmaps.stages.base import SlideWork, StageResult
from mil_heatmaps.stages.figure_foot import foot_of
from mil_heatmaps.words import reason_of

if TYPE_CHECKING:
    from mil_heatmaps.visualization.drawing import Drawing

_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}


def attempt(result: StageResult, name: str, write: Callable[[], list[Path]]) -> None:
    """Write one format; if the format or its folder cannot be written, note why and go on."""
    try:
        result.paths += write()
    except (MissingDependencyError, ScoreError) as error:
        _refuse(result, name, error)
        result.again |= isinstance(error, MissingDependencyError)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        _refuse(result, name, error)
        result.again = True


def _refuse(result: StageResult, name: str, error: Exception) -> None:
    result.notes.append(Notice("export_refused", f"export {name} was not written: {reason_of(error)}"))


def notices_of(work: SlideWork, drawing: Drawing) -> tuple[Notice, ...]:
    """Return the notices for the metadata of an export: those of all earlier stages and of the drawing."""
    return distinct((*work.record.notices(before="exports"), *drawing.notes))


def lines_of(work: SlideWork, drawing: Drawing) -> tuple[str, ...]:
    """Return the notices and the faithfulness of the map as lines of text."""
    return (*notices_of(work, drawing), *(foot.lines() if (foot := foot_of(work)) is not None else ()))


def content_of(drawing: Drawing, content: str) -> Drawing:
    """Return the drawing with colours over the slide, or with the colours alone on white."""
    from mil_heatmaps.visualization.drawing import colours_alone

    return colours_alone(drawing) if content == "colours" else drawing


def at_level(work: SlideWork, drawing: Drawing, level: int | None) -> Drawing:
    from mil_heatmaps.visualization.frame import choose_frame

    return drawing if level is None else replace(drawing, frame=choose_frame(work.slide, level), blur_px=None)


def for_people(work: SlideWork, drawing: Drawing) -> Drawing:
    """Return the drawing with the slide's colours as people are to see them."""
    return replace(drawing, color_profile=work.config.heatmap_arguments.for_people)
