"""The picture of the outlines, which is for inspection and ends no slide."""

from __future__ import annotations

import numpy as np

from mil_heatmaps.stages.segment import _shrunk


def test_a_picture_too_long_for_jpeg_is_drawn_smaller_and_said() -> None:
    picture = np.full((5, 140_000, 3), 200, np.uint8)
    small, said = _shrunk(picture)
    assert small.shape == (2, 46_667, 3)
    assert (small == 200).all()
    assert said.code == "outline_picture"
    assert said == "the picture of the outlines does not fit JPEG at 140000 x 5 pixels: drawn at 1/3 of it"
