"""`TissueSlide`: a slide and its tissue, under the names that CLAM's users know."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mil_heatmaps.choices import CoordsFrame
from mil_heatmaps.errors import TissueError
from mil_heatmaps.slides.frames import place_mask
from mil_heatmaps.slides.reader import Slide, open_slide
from mil_heatmaps.slides.segmentation_params import AREA_LIMITS, SegmentationParams
from mil_heatmaps.slides.tissue import Contour, TissueMask, segment_tissue
from mil_heatmaps.slides.tissue_files import read_mask, write_geojson, write_mask_pkl

Own = TypeVar("Own", bound="TissueSlide")


class TissueSlide:
    """A slide with its tissue contours; its subclass `WholeSlideImage` draws both.

    Parameters
    ----------
    path : path of the slide, or an open `Slide`

    Attributes
    ----------
    slide : Slide
    name : str
        The file name without its extension.
    contours_tissue : list of int32 (n, 1, 2) arrays, or None before any segmentation
        Level-0 pixels. May be set.
    holes_tissue : list with one list of int32 (n, 1, 2) arrays per contour
        May be set.
    contours_tumor : list of int32 (n, 1, 2) arrays, or None
        Annotations to draw; set by the user.
    """

    def __init__(self, path: str | os.PathLike[str] | Slide) -> None:
        self.slide = path if isinstance(path, Slide) else open_slide(path)
        self.name = self.slide.slide_id
        self.contours_tissue: list[Contour] | None = None
        self.holes_tissue: list[list[Contour]] | None = None
        self.contours_tumor: list[Contour] | None = None

    def __repr__(self) -> str:
        pieces = "not segmented" if self.contours_tissue is None else f"{len(self.contours_tissue)} pieces of tissue"
        return f"{type(self).__name__}({self.name!r}, {pieces})"

    def __enter__(self: Own) -> Own:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the slide's file."""
        self.slide.close()

    @property
    def level_dim(self) -> tuple[tuple[int, int], ...]:
        """(width, height) of each level."""
        return self.slide.level_dimensions

    @property
    def level_downsamples(self) -> tuple[tuple[float, float], ...]:
        """(x, y) downsample of each level."""
        return self.slide.level_downsamples

    @property
    def tissue(self) -> TissueMask | None:
        """The contours and holes as one checked object, None before any segmentation."""
        if self.contours_tissue is None:
            return None
        holes = self.holes_tissue if self.holes_tissue is not None else [[] for _ in self.contours_tissue]
        if len(holes) != len(self.contours_tissue):
            raise TissueError(
                f"{self.name}: {len(self.contours_tissue)} contours but holes for {len(holes)}; "
                "holes_tissue needs one list for each contour"
            )
        return TissueMask(
            tuple(_as_contour(contour) for contour in self.contours_tissue),
            tuple(tuple(_as_contour(hole) for hole in own) for own in holes),
        )

    @tissue.setter
    def tissue(self, mask: TissueMask) -> None:
        self.contours_tissue = list(mask.contours_l0)
        self.holes_tissue = [list(holes) for holes in mask.holes_l0]

    def segment_tissue(
        self,
        seg_level: int = -1,
        sthresh: float = 15,
        mthresh: int = 11,
        close: int = 2,
        use_otsu: bool = False,
        filter_params: Mapping[str, float] | None = None,
        keep_ids: Sequence[int] = (),
        exclude_ids: Sequence[int] = (),
    ) -> None:
        """Find the tissue with CLAM's method and keep it in `contours_tissue` and `holes_tissue`.

        `SegmentationParams` describes the parameters. `filter_params` may hold ``a_t``, ``a_h`` and ``max_n_holes``;
        the defaults are 50, 8 and 10.
        """
        limits: dict[str, Any] = dict(filter_params or {})
        if unknown := sorted(set(limits) - set(AREA_LIMITS)):
            raise TissueError(f"unknown filter parameter {unknown[0]!r}; choose from {list(AREA_LIMITS)}")
        ids = tuple(keep_ids), tuple(exclude_ids)
        params = SegmentationParams(seg_level, sthresh, mthresh, close, use_otsu, *ids, **limits)
        self.tissue = segment_tissue(self.slide, params)

    def load_mask(self, path: str | os.PathLike[str], coords_frame: CoordsFrame = "auto") -> None:
        """Take the tissue from a GeoJSON (TRIDENT, QuPath) or a CLAM mask.pkl.

        Outlines that count from the corner of the scanned area are shifted to level 0. `coords_frame` says whether they
        do; ``auto`` decides by the outlines.
        """
        self.tissue, _ = place_mask(read_mask(Path(path)), self.slide.space(coords_frame))

    def save_mask(self, path: str | os.PathLike[str]) -> None:
        """Write the tissue as a CLAM mask.pkl, or as GeoJSON if the path has the suffix ``.geojson``."""
        mask = self.tissue
        if mask is None:
            raise TissueError(f"{self.name}: no tissue to save; call segment_tissue or load_mask first")
        if ".geojson" in Path(path).suffixes:
            write_geojson(mask, Path(path))
        else:
            write_mask_pkl(mask, Path(path))

    segmentTissue = segment_tissue
    initSegmentation = load_mask
    saveSegmentation = save_mask


def _as_contour(points: npt.ArrayLike) -> Contour:
    contour = np.asarray(points)
    if contour.ndim == 2 and contour.shape[1:] == (2,):
        contour = contour[:, None, :]
    if contour.ndim != 3 or contour.shape[1:] != (1, 2):
        raise TissueError(f"a contour must have shape (n, 1, 2), got {contour.shape}")
    return contour.astype(np.int32, copy=False)
