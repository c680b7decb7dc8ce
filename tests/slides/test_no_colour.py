"""Why a slide has no tissue, where nothing on it has any colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mil_heatmaps.slides.reader import open_slide
from mil_heatmaps.slides.tissue_binary import without_colour

WHITE = np.full((40, 60, 3), 255, np.uint8)
GREY = np.arange(60, dtype=np.uint8)[None, :, None].repeat(40, 0).repeat(3, 2)
PINK = WHITE - np.array([0, 90, 40], np.uint8)


@pytest.mark.parametrize(("pixels", "why"), [(WHITE, "blank, or its file is damaged"), (GREY, "is grey"), (PINK, "")])
def test_a_blank_slide_is_told_from_a_grey_one(tmp_path: Path, pixels: npt.NDArray[np.uint8], why: str) -> None:
    Image.fromarray(pixels).save(tmp_path / "s.png")
    with open_slide(tmp_path / "s.png") as slide:
        said = without_colour(slide)
    assert why in said
    assert bool(said) == bool(why)
