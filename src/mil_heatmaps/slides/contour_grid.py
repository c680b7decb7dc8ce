"""Lay patches over tissue as CLAM does: each piece of tissue has a separate grid in its bounding box.

Names ending ``_l0`` are level-0 pixels, ``_px`` pixels of the patch level. Coordinates are (x, y) of a patch's top-left
corner. Patches come piece by piece, column by column. If two pieces overlap, both may contain the same patch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mil_heatmaps.choices import CONTOUR_TESTS, ContourTest
from mil_heatmaps.errors import TissueError
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.points_in_contour import Axis, Edges, Inside, classify_lattice
from mil_heatmaps.slides.reader import Slide
from mil_heatmaps.slides.tissue import Contour, TissueMask

_LATTICE_POINTS = 1 << 24
"""Most points checked at once, about 100 MB."""


@dataclass(frozen=True)
class _Probe:
    """The points of a patch to check, relative to its corner. The patch is inside if any point is, or all."""

    offsets_l0: tuple[tuple[int, int], ...]
    need_all: bool


def grid_from_contours(
    mask: TissueMask,
    slide: Slide,
    *,
    patch_level: int = 0,
    patch_size: int = 256,
    step_size: int | None = None,
    contour_fn: ContourTest = "four_pt",
    use_padding: bool = True,
) -> PatchGrid:
    """Return the patches of CLAM's `create_patches_fp`, on which models are trained; an empty grid if none fits.

    Parameters
    ----------
    patch_level, patch_size, step_size
        Side of patches and step between them, in pixels of that level. The default step is the side.
    contour_fn
        Which points must lie in a piece for the patch to belong to it: its corner (``basic``), its centre (``center``),
        any (``four_pt``) or all (``four_pt_hard``) of four points around the centre. The border counts as inside. The
        centre must not lie inside a hole.
    use_padding
        Whether patches may extend beyond the slide's edge.
    """
    if contour_fn not in CONTOUR_TESTS:
        raise TissueError(f"unknown contour_fn {contour_fn!r}; choose from {list(CONTOUR_TESTS)}")
    step = patch_size if step_size is None else step_size
    _check_size(slide, patch_level, (patch_size, patch_size), (step, step))
    downsample = slide.level_downsamples[patch_level]
    ref_l0 = _scaled((patch_size, patch_size), downsample)
    coords = _lay(
        mask,
        slide.dimensions_l0,
        ref_l0,
        _scaled((step, step), downsample),
        _training_probe(contour_fn, ref_l0[0]),
        use_padding=use_padding,
    )
    size_l0 = _drawn_size((patch_size, patch_size), downsample)
    return PatchGrid(coords, size_l0, _scaled((step, step), downsample))


def region_grid(
    mask: TissueMask,
    slide: Slide,
    *,
    patch_level: int = 0,
    patch_size: int | tuple[int, int] = 256,
    overlap: float = 0.0,
    step_size: int | tuple[int, int] | None = None,
    use_center_shift: bool = False,
    custom_downsample: float = 1,
    top_left: tuple[int, int] | None = None,
    bot_right: tuple[int, int] | None = None,
) -> PatchGrid:
    """Return the patches of CLAM's fine heatmap, which may overlap; an empty grid if none fits.

    Parameters
    ----------
    patch_level, patch_size
        Side of patches in pixels of that level, before `custom_downsample`.
    overlap
        Share of a patch that its neighbour also covers, from 0 to below 1. `step_size`, in pixels, overrides it.
    use_center_shift
        Check four points around the centre, which must all lie in tissue, instead of only the centre. The points move
        outwards as the overlap grows.
    custom_downsample
        Factor by which patches are larger; they are shrunk to `patch_size` after reading.
    top_left, bot_right
        Level-0 corners of a region that limits the grid; the grid then begins at the region's corner.
    """
    if not 0 <= overlap < 1:
        raise TissueError(f"overlap must be at least 0 and below 1, got {overlap}")
    if custom_downsample < 1:
        raise TissueError(f"custom_downsample must be at least 1, got {custom_downsample}")
    patch = patch_size if isinstance(patch_size, tuple) else (patch_size, patch_size)
    if step_size is None:
        step = int(patch[0] * (1 - overlap)), int(patch[1] * (1 - overlap))
        if min(step) < 1:
            raise TissueError(
                f"overlap {overlap} of {patch[0]} x {patch[1]} pixels leaves no step between patches"
            )
    else:
        step = step_size if isinstance(step_size, tuple) else (step_size, step_size)
    patch = int(patch[0] * custom_downsample), int(patch[1] * custom_downsample)
    step = int(step[0] * custom_downsample), int(step[1] * custom_downsample)
    _check_size(slide, patch_level, patch, step)
    downsample = slide.level_downsamples[patch_level]
    size_l0 = _drawn_size(patch, downsample)
    coords = _lay(
        mask,
        slide.dimensions_l0,
        _scaled(patch, downsample),
        _scaled(step, downsample),
        _heatmap_probe(size_l0[0], 1 - step[0] / patch[0], use_center_shift),
        use_padding=True,
        region_l0=_region(top_left, bot_right),
    )
    return PatchGrid(coords, size_l0, _scaled(step, downsample))


def _check_size(slide: Slide, level: int, patch: tuple[int, int], step: tuple[int, int]) -> None:
    if not 0 <= level < slide.level_count:
        deepest = slide.level_count - 1
        raise TissueError(f"patch_level {level} is not in {slide.path.name}, which has levels 0 to {deepest}")
    if min(patch) < 1 or min(step) < 1:
        raise TissueError(f"patch size and step must be at least 1 pixel, got {patch} and {step}")


def _scaled(size_px: tuple[int, int], downsample: tuple[float, float]) -> tuple[int, int]:
    """Return a size on the level in level-0 pixels.

    Level sizes are rounded, so downsamples of 4.0007 and 3.9986 both mean 4. CLAM truncates the latter to 3; this is
    not copied.
    """

    def factor(exact: float) -> float:
        return round(exact) if abs(exact - round(exact)) <= 0.01 * exact else exact

    width, height = (
        max(1, round(side * factor(exact))) for side, exact in zip(size_px, downsample, strict=True)
    )
    return width, height


def _drawn_size(size_px: tuple[int, int], downsample: tuple[float, float]) -> tuple[int, int]:
    """Return the level-0 size with which CLAM draws a patch."""
    return max(1, int(size_px[0] * downsample[0])), max(1, int(size_px[1] * downsample[1]))


def _region(
    top_left: Sequence[int] | None, bot_right: Sequence[int] | None
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    if top_left is None and bot_right is None:
        return None
    if top_left is None or bot_right is None:
        raise TissueError("a region needs both corners, top_left and bot_right")
    return (int(top_left[0]), int(top_left[1])), (int(bot_right[0]), int(bot_right[1]))


def _around(centre: int, shift: int, *, need_all: bool) -> _Probe:
    if shift <= 0:
        return _Probe(((centre, centre),), need_all)
    ends = (centre - shift, centre + shift)
    return _Probe(tuple((x, y) for x in ends for y in ends), need_all)


def _training_probe(contour_fn: ContourTest, ref_l0: int) -> _Probe:
    half = ref_l0 // 2
    if contour_fn == "basic":
        return _Probe(((0, 0),), need_all=True)
    shift = 0 if contour_fn == "center" else int(half * 0.5)
    return _around(half, shift, need_all=contour_fn != "four_pt")


def _heatmap_probe(ref_l0: int, overlap: float, use_center_shift: bool) -> _Probe:
    """Return CLAM's four_pt_hard with a shift that depends on the overlap."""
    half = ref_l0 // 2
    share = 0.375 if overlap < 0.25 else 0.5 if overlap < 0.95 else 0.625
    return _around(half, int(half * share) if use_center_shift else 0, need_all=True)


def _lay(
    mask: TissueMask,
    slide_size_l0: tuple[int, int],
    ref_l0: tuple[int, int],
    step_l0: tuple[int, int],
    probe: _Probe,
    *,
    use_padding: bool,
    region_l0: tuple[tuple[int, int], tuple[int, int]] | None = None,
) -> npt.NDArray[np.int64]:
    """Return the corners (N, 2) of the patches of all pieces, as CLAM's `process_contours`."""
    found = [np.empty((0, 2), np.int64)]
    for contour, holes in zip(mask.contours_l0, mask.holes_l0, strict=True):
        points = contour.reshape(-1, 2)
        start, stop = points.min(axis=0).tolist(), (points.max(axis=0) + 1).tolist()
        if not use_padding:
            stop = [
                min(end, side - ref + 1) for end, side, ref in zip(stop, slide_size_l0, ref_l0, strict=True)
            ]
        if region_l0 is not None:
            start = [max(a, b) for a, b in zip(start, region_l0[0], strict=True)]
            stop = [min(a, b) for a, b in zip(stop, region_l0[1], strict=True)]
        counts = [max(0, -(-(b - a) // step)) for a, b, step in zip(start, stop, step_l0, strict=True)]
        if min(counts) > 0:
            found.extend(_lay_in_box(contour, holes, start, counts, ref_l0[0], step_l0, probe))
    return np.concatenate(found)


def _lay_in_box(
    contour: Contour,
    holes: Sequence[Contour],
    start_l0: Sequence[int],
    counts: Sequence[int],
    ref_l0: int,
    step_l0: tuple[int, int],
    probe: _Probe,
) -> list[npt.NDArray[np.int64]]:
    """Return the corners of one piece's patches, in parts of a few columns each to bound memory."""
    edges, hole_edges = Edges.of(contour), [Edges.of(hole) for hole in holes]
    columns = max(1, _LATTICE_POINTS // counts[1])
    ys = Axis(2 * start_l0[1], 2 * step_l0[1], counts[1])
    parts = []
    for first in range(0, counts[0], columns):
        x_l0 = start_l0[0] + first * step_l0[0]
        xs = Axis(2 * x_l0, 2 * step_l0[0], min(columns, counts[0] - first))
        kept = _inside(edges, xs, ys, probe)
        for hole in hole_edges:
            # The centre is the corner plus half the patch's width in both directions, on a half pixel if the width is
            # odd.
            kept &= ~classify_lattice(hole, xs.shifted(ref_l0), ys.shifted(ref_l0))[0]
        column, row = np.nonzero(kept.T)
        parts.append(np.stack([x_l0 + column * step_l0[0], start_l0[1] + row * step_l0[1]], axis=1))
    return parts


def _inside(edges: Edges, xs: Axis, ys: Axis, probe: _Probe) -> Inside:
    result: Inside | None = None
    for x, y in probe.offsets_l0:
        strictly, border = classify_lattice(edges, xs.shifted(2 * x), ys.shifted(2 * y))
        inside = strictly | border
        result = inside if result is None else result & inside if probe.need_all else result | inside
    assert result is not None
    return result
