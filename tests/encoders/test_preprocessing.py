"""Preprocessing equals torchvision's; the values stored are torchvision 0.29.2's own, on Pillow images.

They were made with `Compose([Resize, CenterCrop, ToTensor, Normalize])` on `pattern`, with torchvision installed
beside; it is not needed to run these tests. `_pixels` is the result before Normalize times 255, whole;
`_normalised` every seventh pixel of the final tensor.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from mil_heatmaps.encoders.preprocessing import CLIP_MEAN, CLIP_STD, Preprocessing

STORED = Path(__file__).parents[1] / "data" / "torchvision_transforms.npz"

CASES: dict[str, tuple[int, int, Preprocessing]] = {
    "clam_256_to_224": (256, 256, Preprocessing()),
    "clip_256_to_224": (256, 256, Preprocessing(mean=CLIP_MEAN, std=CLIP_STD)),
    "bicubic_96_to_56": (96, 96, Preprocessing(resize_px=56, interpolation="bicubic")),
    "enlarged_64_to_112": (64, 64, Preprocessing(resize_px=112)),
    "enlarged_bicubic_40_to_96": (40, 40, Preprocessing(resize_px=96, interpolation="bicubic")),
    "gigapath_like_128_64_crop_56": (
        128,
        128,
        Preprocessing(resize_px=64, interpolation="bicubic", crop_px=56),
    ),
    "odd_crop_75_to_61_crop_48": (75, 75, Preprocessing(resize_px=61, crop_px=48)),
    "wide_90x64_to_50": (90, 64, Preprocessing(resize_px=50)),
    "tall_50x97_to_33": (50, 97, Preprocessing(resize_px=33, interpolation="bicubic")),
    "as_is": (48, 48, Preprocessing(resize_px=None)),
}
"""Width and height of the patch, and what is done to it."""


def pattern(width: int, height: int) -> npt.NDArray[np.uint8]:
    """Slopes, fine stripes and hard edges, in whole numbers: the same on every machine."""
    y, x = np.mgrid[:height, :width]
    red = (x * 5 + y * 3) % 256
    green = np.where((x // 3 + y // 5) % 2 == 0, 230, 20)
    blue = (x * y) // 7 % 256
    return np.stack([red, green, blue], -1).astype(np.uint8)


@pytest.fixture(scope="module")
def stored() -> Any:
    with np.load(STORED) as file:
        return dict(file)


@pytest.mark.parametrize("name", CASES)
def test_every_pixel_is_torchvisions_to_one_grey_level(name: str, stored: Any) -> None:
    width, height, steps = CASES[name]
    shrunk = steps.shrink(pattern(width, height)[None])[0].transpose(2, 0, 1)
    assert shrunk.shape == stored[f"{name}_pixels"].shape
    assert np.abs(shrunk.astype(int) - stored[f"{name}_pixels"]).max() <= 1


@pytest.mark.parametrize("name", CASES)
def test_normalised_values_are_torchvisions_to_one_grey_level(name: str, stored: Any) -> None:
    width, height, steps = CASES[name]
    tensor = steps(pattern(width, height)[None])
    assert tensor.dtype == torch.float32
    # One grey level after Normalize is 1/255 over the smallest standard deviation.
    np.testing.assert_allclose(
        tensor[0, :, ::7, ::7].numpy(), stored[f"{name}_normalised"], atol=1 / 255 / min(steps.std)
    )


def test_the_two_halves_make_the_whole() -> None:
    steps = Preprocessing(resize_px=32, crop_px=28)
    batch = np.stack([pattern(50, 50), pattern(50, 50)[::-1]])
    halves = steps.normalise(torch.from_numpy(steps.shrink(batch)))
    assert torch.equal(halves, steps(batch))
    assert halves.shape == (2, 3, 28, 28)


def test_a_crop_larger_than_the_patch_adds_white() -> None:
    shrunk = Preprocessing(resize_px=None, crop_px=6).shrink(np.zeros((1, 4, 4, 3), np.uint8))
    assert shrunk.shape == (1, 6, 6, 3)
    assert shrunk[0, 1:5, 1:5].max() == 0
    assert shrunk[0, 0].min() == 255


def test_patches_that_are_not_uint8_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8 of shape"):
        Preprocessing().shrink(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="float64"):
        Preprocessing()(np.zeros((1, 4, 4, 3)))  # type: ignore[arg-type]
