"""Resize patches with Pillow, which averages over merged pixels, as CLAM, TRIDENT and torchvision do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mil_heatmaps.numpy_later import np

if TYPE_CHECKING:
    import numpy.typing as npt


Interpolation = Literal["bilinear", "bicubic"]


def resize_patches(
    patches: npt.NDArray[np.uint8], size_px: tuple[int, int], interpolation: Interpolation = "bicubic"
) -> npt.NDArray[np.uint8]:
    """Return (B, H, W, 3) patches resized to `size_px` (width, height) with Pillow's filter."""
    from PIL import Image

    kind = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[interpolation]
    resized = np.empty((len(patches), size_px[1], size_px[0], 3), np.uint8)
    for patch, out in zip(patches, resized, strict=True):
        out[:] = np.asarray(Image.fromarray(patch).resize(size_px, kind))
    return resized
