"""Paint a slide: real tissue texture under blob-shaped masks, with lesions of known place.

The texture is the immunohistochemistry picture that scikit-image ships (its docstring: no known copyright
restrictions), unmixed into stains and mixed again as haematoxylin and eosin. A lesion is the same tissue at half the
size with more haematoxylin: crowded, dark nuclei.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

GLASS = 243


@dataclass(frozen=True)
class PaintedSlide:
    """Pixels of a made-up slide and what is where on it, all in level-0 pixels.

    Attributes
    ----------
    pixels : (H, W, 3) uint8
    tissue, lesion : (H, W) bool
        `lesion` lies inside `tissue`.
    """

    pixels: Pixels
    tissue: Mask
    lesion: Mask


@cache
def stained_textures() -> tuple[Pixels, Pixels]:
    """Return the textures of ordinary tissue and of a lesion, (512, 512, 3) and (256, 256, 3) uint8."""
    try:
        from skimage.color import hed2rgb, rgb2hed
        from skimage.data import immunohistochemistry
    except ImportError as error:
        from mil_heatmaps.words import install_line, lacking

        raise lacking("the demo", "scikit-image", install_line("demo"), error) from error
    stains = rgb2hed(immunohistochemistry())
    nuclei, brown = np.clip(stains[..., 0], 0, None), np.clip(stains[..., 2], 0, None)
    eosin = 0.02 + 0.16 * brown + 0.10 * nuclei
    ordinary = hed2rgb(np.stack([0.7 * nuclei, eosin, np.zeros_like(eosin)], axis=-1))
    crowded = hed2rgb(np.stack([1.0 * nuclei, eosin, np.zeros_like(eosin)], axis=-1))
    return _to_bytes(ordinary), cv2.resize(_to_bytes(crowded), (256, 256), interpolation=cv2.INTER_AREA)


def _to_bytes(rgb: npt.NDArray[np.float64]) -> Pixels:
    return np.clip(rgb * 255, 0, 255).astype(np.uint8)


def paint_slide(width: int, height: int, *, pieces: int, lesions: int, seed: int) -> PaintedSlide:
    """Paint a slide of `pieces` of tissue, `lesions` of which carry a lesion."""
    rng = np.random.default_rng(seed)
    ordinary, crowded = stained_textures()
    tissue, lesion = _masks(width, height, pieces, lesions, rng)
    glass = rng.integers(GLASS - 1, GLASS + 2, size=(height, width), dtype=np.uint8)
    pixels = cv2.merge([glass, glass, glass])
    _fill(pixels, tissue & ~lesion, ordinary, rng)
    _fill(pixels, lesion, crowded, rng)
    return PaintedSlide(pixels, tissue, lesion)


def _masks(width: int, height: int, pieces: int, lesions: int, rng: np.random.Generator) -> tuple[Mask, Mask]:
    """Blobs on a row of cells, one a piece; a lesion is a smaller blob inside its piece."""
    tissue = np.zeros((height, width), np.uint8)
    lesion = np.zeros((height, width), np.uint8)
    cell = width / pieces
    with_lesion = set(rng.permutation(pieces)[:lesions].tolist())
    for index in range(pieces):
        centre = np.array([(index + 0.5) * cell, height / 2]) + rng.uniform(-0.04, 0.04, 2) * [cell, height]
        radii = np.array([cell * 0.42, height * 0.38]) * rng.uniform(0.85, 1.0, 2)
        cv2.fillPoly(tissue, [_blob(centre, radii, rng)], 1)
        if index in with_lesion:
            shift = rng.uniform(-0.3, 0.3, 2) * radii
            cv2.fillPoly(lesion, [_blob(centre + shift, radii * rng.uniform(0.35, 0.5), rng)], 1)
    return tissue.astype(bool), (lesion & tissue).astype(bool)


def _blob(
    centre: npt.NDArray[np.float64], radii: npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[np.int32]:
    """A closed wavy outline, (n, 2) int32."""
    angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    radius = np.ones_like(angle)
    for frequency in range(2, 7):
        radius += rng.uniform(0, 0.22 / frequency) * np.cos(frequency * angle + rng.uniform(0, 2 * np.pi))
    points = centre + radii * radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    outline: npt.NDArray[np.int32] = points.astype(np.int32)
    return outline


def _fill(pixels: Pixels, mask: Mask, texture: Pixels, rng: np.random.Generator) -> None:
    """Lay `texture` under `mask`: pieces of it, turned and flipped, then wavy-edged ones over their seams."""
    side = len(texture) * 3 // 4
    turned = _orientations(texture)
    paint = mask.astype(np.uint8)
    square = np.ones((side, side), np.uint8)
    for wavy, step in ((False, side), (True, side * 5 // 8)):
        for y in range(-side // 2, mask.shape[0], step):
            for x in range(-side // 2, mask.shape[1], step):
                if not paint[max(y, 0) : y + side, max(x, 0) : x + side].any():
                    continue
                shape = square
                if wavy:
                    shape = np.zeros((side, side), np.uint8)
                    cv2.fillPoly(shape, [_blob(np.full(2, side / 2), np.full(2, side * 0.42), rng)], 1)
                _paste(pixels, paint, _piece(turned, side, rng), shape, (x, y))


def _orientations(texture: Pixels) -> dict[tuple[int, int], Pixels]:
    """Return a square texture turned by 0 to 3 quarters, each as it is (1) and with its rows reversed (-1)."""
    return {
        (quarters, rows): np.ascontiguousarray(np.rot90(texture, quarters)[::rows])
        for quarters in range(4)
        for rows in (1, -1)
    }


def _piece(turned: dict[tuple[int, int], Pixels], side: int, rng: np.random.Generator) -> Pixels:
    """Return a square from anywhere in the texture, turned and perhaps flipped: a view, nothing is copied."""
    length = len(turned[0, 1])
    y, x = (int(corner) for corner in rng.integers(0, length - side + 1, 2))
    quarters, rows = int(rng.integers(4)), int(rng.choice((-1, 1)))
    for _ in range(quarters):
        y, x = length - x - side, y
    if rows < 0:
        y = length - y - side
    return turned[quarters, rows][y : y + side, x : x + side]


def _paste(
    pixels: Pixels, paint: Pixels, piece: Pixels, shape: Pixels, corner: tuple[int, int]
) -> None:
    """Paste `piece` at `corner` where both `shape` and `paint` are 1."""
    x, y = corner
    target = np.s_[max(y, 0) : y + len(piece), max(x, 0) : x + len(piece)]
    window = paint[target]
    top, left = max(-y, 0), max(-x, 0)
    inner = np.s_[top : top + window.shape[0], left : left + window.shape[1]]
    cv2.copyTo(piece[inner], window & shape[inner], pixels[target])
