"""Encode tiles as TIFF stores them."""

import zlib

import cv2
import numpy as np

from mil_heatmaps.export.tiff_writer import LevelLayout
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.slides.tiff_levels import DEFLATE, PHOTOMETRIC_YCBCR
from mil_heatmaps.visualization.jpeg_stream import StoredColours, Subsampling, encode_jpeg

SUBSAMPLING: dict[tuple[int, ...], Subsampling] = {(1, 1): "444", (2, 1): "422", (2, 2): "420"}
"""The chroma subsamplings that can be written."""


def encode_tile(tile: UInt8Array, layout: LevelLayout, quality: int) -> bytes:
    """Return a tile compressed for its level; smaller tiles at the right and bottom edges are padded."""
    below, right = layout.tile_px[1] - tile.shape[0], layout.tile_px[0] - tile.shape[1]
    if below or right:
        tile = np.asarray(cv2.copyMakeBorder(tile, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)
    if layout.compression == DEFLATE:
        differences = tile.copy()
        differences[:, 1:] -= tile[:, :-1]
        return zlib.compress(differences.data, 6)
    stored: StoredColours = "YCBCR" if layout.photometric == PHOTOMETRIC_YCBCR else "RGB"
    return encode_jpeg(tile, quality, SUBSAMPLING[layout.subsampling], stored)
