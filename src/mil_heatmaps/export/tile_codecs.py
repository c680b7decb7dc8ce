"""Tiles to bytes, as TIFF stores them."""

import zlib

import cv2
import numpy as np
import numpy.typing as npt

from mil_heatmaps.export.tiff_writer import DEFLATE, YCBCR, LevelLayout

UInt8Array = npt.NDArray[np.uint8]

SUBSAMPLING = {(1, 1): "444", (2, 1): "422", (2, 2): "420"}
"""The chroma subsamplings that can be written."""


def encode_tile(tile: UInt8Array, layout: LevelLayout, quality: int) -> bytes:
    """Return a tile compressed as its level says; one at the right or bottom edge may be smaller and is filled up."""
    below, right = layout.tile_px[1] - tile.shape[0], layout.tile_px[0] - tile.shape[1]
    if below or right:
        tile = np.asarray(cv2.copyMakeBorder(tile, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)
    if layout.compression == DEFLATE:
        differences = tile.copy()
        differences[:, 1:] -= tile[:, :-1]
        return zlib.compress(differences.data, 6)
    import imagecodecs

    kind = "YCBCR" if layout.photometric == YCBCR else "RGB"
    return bytes(
        imagecodecs.jpeg8_encode(
            np.ascontiguousarray(tile),
            quality,
            colorspace="RGB",
            outcolorspace=kind,
            subsampling=SUBSAMPLING[layout.subsampling],
        )
    )
