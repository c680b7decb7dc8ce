"""A column of scores to draw, and the drawing made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mil_heatmaps.numpy_later import np

if TYPE_CHECKING:
    import numpy.typing as npt

    from mil_heatmaps.slides.patch_grid import PatchGrid
    from mil_heatmaps.visualization.drawing import Drawing


@dataclass(frozen=True)
class DrawnColumn:
    """One column of scores that is drawn.

    Attributes
    ----------
    name : str
        The column's own name: a class, a head, or the score's.
    suffix : str
        What tells its files from those of other columns; empty for the one CLAM's rules choose.
    scores : (N,) float32
        As the model gave them.
    grid : PatchGrid
        Where they are.
    kind : ScoreKind
    reference : (M,) float32 or None
        The same column of the bag, for a fine map that is ranked among it.
    reaching : bool
        Whether patches that reach into a region from the left or above are drawn. On CLAM's grid, which begins at the
        region's corner, there are none.
    of : str
        The bag of the column in words, for a model that takes several.
    bag : str
        Name of the bag, or ``sum``; empty for the first bag.
    """

    name: str
    suffix: str
    scores: npt.NDArray[np.float32]
    grid: PatchGrid
    kind: str
    reference: npt.NDArray[np.float32] | None = None
    reaching: bool = False
    of: str = ""
    bag: str = ""


@dataclass(frozen=True)
class PlannedMap:
    """A column and the finished map of it, not painted yet."""

    column: DrawnColumn
    drawing: Drawing

    @property
    def drawn_scores(self) -> npt.NDArray[np.float32]:
        """The scores of the drawing's patches, which are those of the region only."""
        return self.column.scores[self.drawing.patches]
