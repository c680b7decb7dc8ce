"""Interpolate patches whose corner lies between the pixels of a level, with OpenSlide's pixels to the last bit.

OpenSlide itself gives the same pixels, but decodes and composes the tiles for each patch again: two to five times the
time of reading them from shared tiles (measured at 256 px on level 1 of a JPEG 2000 SVS and of a JPEG TIFF).

OpenSlide has Cairo draw every tile: bilinear, in single precision, at a place rounded to 1/65536 of a pixel. On a seam
each tile draws its own share, transparent where the tile ends. The shares are added from the last tile to the first,
and each sum is rounded to 8 bits. The order of operations is Cairo's too, as it decides the last bits.

``_px`` are pixels of the level; sizes and places are (x, y), arrays (height, width, 3).
"""

import numpy as np
import numpy.typing as npt

from mil_heatmaps.slides.pixels import RGB

Floats = npt.NDArray[np.float32]
Neighbour = tuple[int, int]

STEPS = 65536
"""Places within a pixel that are told apart."""

_TL, _TR, _BL, _BR = (0, 0), (0, 1), (1, 0), (1, 1)  # rows down, columns right
_ALL = (_TL, _TR, _BL, _BR)
_ACROSS_COLUMNS = ((_TR, _BR), (_TL, _BL))
_ACROSS_ROWS = ((_BL, _BR), (_TL, _TR))
_FOUR_TILES = ((_BR,), (_BL,), (_TR,), (_TL,))

_UNIT, _ONE = np.float32(1 / 255), np.float32(1)
_ROWS = 16
"""Rows interpolated at a time: they stay in the processor's cache."""


def shifted(region: RGB, shift: tuple[float, float], corner_px: tuple[int, int], tile_px: tuple[int, int]) -> RGB:
    """Return `region` sampled `shift` pixels further right and down, one row and one column smaller.

    Parameters
    ----------
    region : (h + 1, w + 1, 3)
        Pixels of the level from `corner_px` on.
    shift : (x, y)
        From 0 to below 1, in whole 65536ths.
    tile_px : (width, height)
        Tiles begin at its multiples.
    """
    dx, dy = np.float32(shift[0]), np.float32(shift[1])
    weights = {_TL: (_ONE - dx) * (_ONE - dy), _TR: dx * (_ONE - dy), _BL: (_ONE - dx) * dy, _BR: dx * dy}
    out = _inside_tiles(region, weights)
    rows, columns = (np.arange(side) for side in out.shape[:2])
    seam_rows, seam_columns = (
        where[(where + corner + 1) % side == 0] if part else where[:0]
        for where, corner, side, part in zip((rows, columns), corner_px[::-1], tile_px[::-1], shift[::-1], strict=True)
    )
    for down, right, tiles in (
        (rows, seam_columns, _ACROSS_COLUMNS),
        (seam_rows, columns, _ACROSS_ROWS),
        (seam_rows, seam_columns, _FOUR_TILES),
    ):
        if len(down) and len(right):
            near = {(dy, dx): region[np.ix_(down + dy, right + dx)].astype(np.float32) * _UNIT for dy, dx in _ALL}
            out[np.ix_(down, right)] = _on_seam(near, weights, tiles)
    return out


def _inside_tiles(region: RGB, weights: dict[Neighbour, np.float32]) -> RGB:
    """Return the weighted sum of each pixel's neighbours, as if all lay in one tile."""
    height, row = region.shape[0] - 1, region.shape[1] * 3
    out = np.empty((height, *region.shape[1:]), np.uint8)
    # 256 is a power of two: multiplying by it beforehand changes no other bit.
    unit, most = np.float32(_UNIT * 256), np.float32(255)
    for first in range(0, height, _ROWS):
        last = min(first + _ROWS, height)
        # One line of numbers, so that neighbours are a fixed distance apart; the column beyond the last is dropped.
        pixels = np.append(region[first : last + 1].ravel(), np.zeros(3, np.uint8)).astype(np.float32)
        pixels *= unit
        count = (last - first) * row
        total = pixels[:count] * weights[_TL]
        for (down, right), weight in list(weights.items())[1:]:
            start = down * row + right * 3
            total += pixels[start : start + count] * weight
        np.minimum(total, most, out=total)
        out[first:last] = total.astype(np.uint8).reshape(last - first, *region.shape[1:])
    return np.ascontiguousarray(out[:, :-1])


def _on_seam(
    near: dict[Neighbour, Floats], weights: dict[Neighbour, np.float32], tiles: tuple[tuple[Neighbour, ...], ...]
) -> npt.NDArray[np.uint8]:
    """Return pixels that several tiles share: Cairo's operator SATURATE, tile after tile."""
    colour, alpha = np.zeros_like(near[_TL]), np.zeros((), np.float32)
    for tile in tiles:
        share, own = np.zeros_like(colour), np.zeros((), np.float32)
        for place in tile:
            share += near[place] * weights[place]
            own += weights[place]
        room = _ONE if own == 0 else np.clip((_ONE - alpha) / own, np.float32(0), _ONE)
        colour, alpha = _rounded(share * room + colour), _rounded(own * room + alpha)
    drawn, opaque = np.rint(colour * 255).astype(np.int32), max(1, round(float(alpha) * 255))
    # What roundings left transparent OpenSlide's binding divides out again.
    return (255 * drawn // opaque).astype(np.uint8)


def _rounded(values: Floats) -> Floats:
    """Return 0 to 1 as it is after being stored in 8 bits: 256 equal parts, the last of which is 255 too."""
    stored = np.minimum(np.floor(np.minimum(values, _ONE) * np.float32(256)), np.float32(255))
    return np.asarray(stored * _UNIT, np.float32)
