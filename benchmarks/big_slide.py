"""A slide of 60000 x 50000 pixels in half a minute or less: tissue texture encoded once, its tiles used many times.

The file is a tiled JPEG pyramid, levels twice apart, tissue on a good half of it. Every tile is written out, so that
reading costs what it costs on a real slide.
"""

import argparse
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import numpy.typing as npt

from mil_heatmaps.export.tiff_writer import LevelLayout, PyramidWriter

SIZE = (60000, 50000)
TILE = 256
LEVELS = 6
VARIANTS = 48
QUALITY = 75
GLASS = (243, 242, 245)


def tissue_at(x: npt.NDArray[np.floating], y: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Say where the slide has tissue; x and y from 0 to 1."""
    pieces = ((0.3, 0.33, 0.26, 0.28), (0.72, 0.55, 0.24, 0.4), (0.28, 0.8, 0.2, 0.15))
    inside = np.zeros(np.broadcast(x, y).shape, bool)
    for cx, cy, rx, ry in pieces:
        angle = np.arctan2(y - cy, x - cx)
        inside |= ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1 + 0.08 * np.sin(7 * angle)
    return inside


def _texture(level: int, generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    from skimage.data import immunohistochemistry

    picture = np.ascontiguousarray(immunohistochemistry())
    if level:  # a slide scanner averages this away
        side = max(8, 512 >> level)
        picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        repeats = -(-2 * TILE // side)
        picture = np.tile(picture, (repeats, repeats, 1))
    top, left = generator.integers(0, min(picture.shape[:2]) - TILE + 1, 2)
    tile = np.rot90(picture[top : top + TILE, left : left + TILE], int(generator.integers(4)))
    return np.ascontiguousarray(tile)


def _encode(tile: npt.NDArray[np.uint8]) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(tile, QUALITY, colorspace="RGB", outcolorspace="YCBCR", subsampling="420"))


def make_big_slide(path: Path, size: tuple[int, int] = SIZE) -> Path:
    """Write the slide and return its path."""
    layouts = [LevelLayout((size[0] >> level, size[1] >> level), (TILE, TILE)) for level in range(LEVELS)]
    with path.open("wb") as file:
        writer = PyramidWriter(file, layouts, mpp=0.25, name="bench")
        for level, layout in enumerate(layouts):
            generator = np.random.default_rng(level)
            tissue = [_encode(_texture(level, generator)) for _ in range(VARIANTS)]
            glass = _encode(np.full((TILE, TILE, 3), GLASS, np.uint8))
            across, down = layout.tiles
            x = (np.arange(across) + 0.5) * TILE / layout.size_px[0]
            y = (np.arange(down) + 0.5) * TILE / layout.size_px[1]
            inside = tissue_at(x[None], y[:, None]).reshape(-1)
            for index, variant in enumerate(generator.integers(0, VARIANTS, across * down)):
                writer.write_tile(level, index, tissue[variant] if inside[index] else glass)
        writer.finish()
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    print(make_big_slide(parser.parse_args().path))
