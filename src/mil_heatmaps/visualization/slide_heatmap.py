"""What `MILLabVisualizer.visualize` returns: one slide's scores, and every way to look at them."""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.files.names import slide_id_of
from mil_heatmaps.notices import Notice, distinct
from mil_heatmaps.scores.concentration import concentration
from mil_heatmaps.scores.patch_scores import PatchScores, Prediction
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.tissue import TissueMask
from mil_heatmaps.visualization.colour_rule import ColourRule
from mil_heatmaps.visualization.sampling import Mode, SampledPatch, sample_top_patches
from mil_heatmaps.words import PROGRAM

if TYPE_CHECKING:
    from PIL import Image

    from mil_heatmaps.visualization.drawing import Drawing


@dataclass(frozen=True, repr=False, eq=False)
class SlideHeatmap:
    """A scored slide. Pictures are drawn when first asked for, then kept.

    In a notebook it shows itself as the figure: slide, map, colour bar, highest and lowest patches.

    Attributes
    ----------
    slide_path : Path
    scores : PatchScores
        All columns, (N, K), as returned by the model.
    values : (N,) float32
        The column that is drawn.
    column : str
        Name of the drawn column: a class, a head, or the score itself.
    prediction : Prediction or None
        None for a model without a classifier.
    tissue : TissueMask or None
        The tissue to which the colours are clipped; None clips nothing.
    options : mapping
        Options of `draw_heatmap`, as given to `visualize`.
    label, model : str or None
    notes : tuple of Notice
        Notices from reading and scoring, such as guesses about a file.
    mpp : float or None
        Resolution given by hand, micrometres per level-0 pixel.
    """

    slide_path: Path
    scores: PatchScores
    values: npt.NDArray[np.float32]
    column: str
    prediction: Prediction | None = None
    tissue: TissueMask | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str | None = None
    model: str | None = None
    notes: tuple[Notice, ...] = ()
    mpp: float | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        said = "" if self.prediction is None else f", prediction={self.prediction.summary!r}"
        return f"SlideHeatmap({slide_id_of(self.slide_path)!r}, n={len(self)}, score={self.scores.score!r}{said})"

    @property
    def grid(self) -> PatchGrid:
        """Where the patches are."""
        assert self.scores.grid is not None  # scores of a slide's features always have a grid
        return self.scores.grid

    @cached_property
    def picture(self) -> "Image.Image":
        """The heatmap over the slide, pixel for pixel as generate_heatmaps.py draws it."""
        return self.draw()

    @cached_property
    def figure(self) -> "Image.Image":
        """The figure for people: slide and map side by side, colour bar, scale bar, patches."""
        from PIL import Image

        from mil_heatmaps.visualization.colour_words import group_of
        from mil_heatmaps.visualization.drawing import Painter
        from mil_heatmaps.visualization.figure import FigureText, draw_figure

        names, spread = self.scores.names, concentration(self.scores.values[:, 0], self.scores.kind)
        text = FigureText(
            score_name=self.scores.score,
            class_name=self.column if len(names) > 1 or self.scores.explained is not None else None,
            slide_id=slide_id_of(self.slide_path),
            label=self.label,
            model=self.model,
            prediction=self.prediction,
            group=": ".join(group_of(self.scores, self.column, "auto", self.prediction) or ()),
            kind=self.scores.kind,
            version=PROGRAM,
            foot=() if spread is None else (spread.words,),
            even=spread is not None and spread.nearly_even,
        )
        with self._planned() as drawing:
            painter = Painter(drawing, watch=True)
            painter.look()
            unseen = painter.uncoloured().notice()
            notices = distinct((*self.notes, *drawing.notes, *([] if unseen is None else [unseen])))
            return Image.fromarray(draw_figure(drawing, self.values, replace(text, notices=notices)))

    def draw(self, **options: Any) -> "Image.Image":
        """Return the heatmap with other options of `draw_heatmap`, such as ``cmap="viridis"``."""
        from PIL import Image

        from mil_heatmaps.visualization.overlay import draw

        with self._planned(**options) as drawing:
            return Image.fromarray(draw(drawing))

    def save(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """Write the heatmap to a file, in bounded memory for any size; return the path."""
        from mil_heatmaps.visualization.overlay import draw_to_file

        with self._planned(**options) as drawing:
            draw_to_file(Path(path), drawing)
        return Path(path)

    def top_patches(self, k: int = 15, *, mode: Mode = "topk", **options: Any) -> list[SampledPatch]:
        """Return the patches with the highest scores (or the lowest, depending on `mode`), with their pictures."""
        from mil_heatmaps.slides.reader import open_slide

        with open_slide(self.slide_path, mpp=self.mpp) as slide:
            return sample_top_patches(
                self.values,
                self.grid.coords_l0,
                wsi_object=slide,
                k=k,
                mode=mode,
                **{"patch_size": self.grid.size_l0, **options},
            )

    def _repr_png_(self) -> bytes:
        data = io.BytesIO()
        self.figure.save(data, format="PNG")
        return data.getvalue()

    @contextmanager
    def _planned(self, **options: Any) -> Iterator["Drawing"]:
        """Yield the drawing with the slide open."""
        from mil_heatmaps.slides.reader import open_slide
        from mil_heatmaps.visualization.heatmap_utils import plan_heatmap, with_options
        from mil_heatmaps.visualization.tissue_slide import TissueSlide
        from mil_heatmaps.visualization.view import View

        chosen = {"normalize": None, "cmap": None, **self.options, **options}
        center = chosen.pop("center", "auto")
        usual = ColourRule.for_kind(self.scores.kind, chosen.pop("normalize"), chosen.pop("cmap"))
        usual = usual.of_column(self.scores, self.column, self.prediction, center="auto" if center is None else center)
        view, colours = with_options(View(segment=self.tissue is not None), usual, chosen)
        with TissueSlide(open_slide(self.slide_path, mpp=self.mpp)) as slide:
            if self.tissue is not None:
                slide.tissue = self.tissue
            yield plan_heatmap(self.values, self.grid, slide, view, colours)
