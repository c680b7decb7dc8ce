"""The second slide that a figure shows beside the first, where `data_arguments.beside_dir` has one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.notices import Notice
from mil_heatmaps.stages.base import SlideWork
from mil_heatmaps.words import reason_of

if TYPE_CHECKING:
    from mil_heatmaps.visualization.second_slide import SecondSlide


NO_SECOND_SLIDE = "no_second_slide"
"""Code of the notice that there is none to show."""


def second_slide_inputs(work: SlideWork) -> dict[str, Any]:
    """Return what the figure depends on, for the stage's inputs; empty where no second slide is asked for."""
    if not _wanted(work):
        return {}
    found = {"slide": work.job.beside_path, "affine": work.job.affine_path}
    return {"beside": {what: None if path is None else work.fingerprint(path) for what, path in found.items()}}


def second_slide_notices(work: SlideWork) -> list[Notice]:
    """Return why the figure has no second slide though there is a folder of them."""
    if not _wanted(work):
        return []
    try:
        with second_slide(work):
            return []
    except HeatmapError as error:
        return [Notice("no_second_slide", f"the figure has no second slide: {reason_of(error)}")]


@contextmanager
def second_slide(work: SlideWork) -> Iterator[SecondSlide | None]:
    """Yield the second slide, open; None where none is asked for.

    Raises
    ------
    HeatmapError
        The second slide, or the file that says where it lies, is missing or cannot be read.
    """
    from mil_heatmaps.slides.affine import read_affine
    from mil_heatmaps.slides.reader import open_slide
    from mil_heatmaps.visualization.second_slide import SecondSlide

    if not _wanted(work):
        yield None
        return
    name, beside, affine = work.job.slide_id, work.job.beside_path, work.job.affine_path
    if beside is None:
        raise HeatmapError(f"beside_dir has no slide named {name}")
    if affine is None:
        raise HeatmapError(f"beside_dir has {beside.name} without {name}.npy, which says where it lies")
    matrix = read_affine(affine)
    with open_slide(beside, threads=work.settings.slide_threads) as slide:
        yield SecondSlide(slide, matrix)


def _wanted(work: SlideWork) -> bool:
    style = work.config.heatmap_arguments.figure_style
    return work.config.data_arguments.beside_dir is not None and style is not None and "beside" in style.panels
