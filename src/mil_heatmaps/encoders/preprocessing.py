"""Preprocess the pixels of a patch for an encoder.

The result equals torchvision's `Resize -> CenterCrop -> ToTensor -> Normalize` on a Pillow image, without
torchvision: its `Resize` of a Pillow image is Pillow's `resize`, which averages over the pixels it merges
(antialias).

The work has two halves. `shrink` (uint8 to uint8, with Pillow, which releases the interpreter lock) runs in the
threads that decode patches. `normalise` runs on the encoder's device, so that only a quarter of the bytes travel
to the GPU.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mil_heatmaps.numpy_later import np
from mil_heatmaps.slides.resize_patches import Interpolation, resize_patches

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocessing:
    """The steps from a patch to the tensor an encoder takes.

    Attributes
    ----------
    resize_px : int or None
        The shorter side after resizing. The longer side keeps the proportion, rounded down (torchvision's rule).
        None leaves the patch as it is.
    interpolation : {"bilinear", "bicubic"}
        Pillow's filter, both with antialias.
    crop_px : int or None
        Side of the square cut from the middle afterwards; white is added around a smaller patch.
    mean, std : (red, green, blue)
        Mean and standard deviation of pixels in 0..1.
    float_sizes : tuple of int
        Sides of squares to which the patch is resized one after another in float, bilinear WITHOUT antialias,
        after the steps above and before normalising. Only for encoders that were used in this way.
    """

    resize_px: int | None = 224
    interpolation: Interpolation = "bilinear"
    crop_px: int | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    float_sizes: tuple[int, ...] = ()

    def __call__(self, batch: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Return the (B, 3, h, w) float32 tensor for (B, H, W, 3) uint8 patches."""
        import torch

        return self.normalise(torch.from_numpy(self.shrink(batch)))

    def shrink(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return (B, H, W, 3) patches resized and cropped, still uint8."""
        if batch.ndim != 4 or batch.shape[-1] != 3 or batch.dtype != np.uint8:
            raise ValueError(f"patches must be uint8 of shape (B, H, W, 3), got {batch.dtype} {batch.shape}")
        height, width = batch.shape[1:3]
        size = self._resized(width, height)
        if size != (width, height):
            batch = resize_patches(batch, size, self.interpolation)
        return batch if self.crop_px is None else _centre_crop(batch, self.crop_px)

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the float32 (B, 3, h, w) tensor of (B, h, w, 3) uint8 pixels, on the device they are on."""
        import torch

        # Colours stay innermost in memory ("channels last"), which makes convolutions up to twice as fast.
        tensor = pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255)
        for side in self.float_sizes:
            if tensor.shape[-2:] != (side, side):
                tensor = torch.nn.functional.interpolate(tensor, (side, side), mode="bilinear", align_corners=False)
        mean, std = _on_device(self.mean, tensor.device), _on_device(self.std, tensor.device)
        return tensor.sub_(mean).div_(std)

    def identity(self) -> dict[str, Any]:
        """Return the steps as plain values, for records and cache keys."""
        return asdict(self)

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        if self.resize_px is None or min(width, height) == self.resize_px:
            return width, height
        short, long = sorted((width, height))
        longer = int(self.resize_px * long / short)
        return (self.resize_px, longer) if width <= height else (longer, self.resize_px)


@lru_cache(maxsize=16)
def _on_device(values: tuple[float, float, float], device: torch.device) -> torch.Tensor:
    """Return `values` as (1, 3, 1, 1) float32, cached: a copy from the host waits for all pending work of the GPU."""
    import torch

    return torch.tensor(values, dtype=torch.float32, device=device).view(1, 3, 1, 1)


def _centre_crop(batch: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Crop like torchvision's CenterCrop, but with white instead of black around patches that are too small."""
    height, width = batch.shape[1:3]
    if height < side or width < side:
        left, top = max(0, (side - width) // 2), max(0, (side - height) // 2)
        padded = np.full((len(batch), max(height, side), max(width, side), 3), 255, np.uint8)
        padded[:, top : top + height, left : left + width] = batch
        batch, (height, width) = padded, padded.shape[1:3]
    # torchvision rounds halves to even here.
    top, left = round((height - side) / 2), round((width - side) / 2)
    return np.ascontiguousarray(batch[:, top : top + side, left : left + side])
