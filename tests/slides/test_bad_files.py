"""Slides that cannot be read, as a whole or in places, are refused by name and with a reason."""

import struct
from pathlib import Path

import numpy as np
import pytest

from mil_heatmaps.errors import SlideError
from mil_heatmaps.slides.reader import open_slide
from tests.helpers.slides import make_tiled_pyramid, open_by_openslide


def test_a_missing_file_a_folder_and_a_stranger_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match=r"slide not found: .*nowhere\.svs"):
        open_slide(tmp_path / "nowhere.svs")
    with pytest.raises(SlideError, match="is a folder"):
        open_slide(tmp_path)
    for name, content, why in (
        ("text.svs", b"no slide" * 100, "OpenSlide does not know its format"),
        ("empty.tif", b"", "the file is empty"),
        ("text.png", b"no picture" * 100, "is not a picture"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SlideError, match=f"{name}.*{why}"):
            open_slide(tmp_path / name)


def test_a_slide_cut_short_says_so(tiny_slide: Path, tmp_path: Path) -> None:
    data = tiny_slide.read_bytes()
    (directory,) = struct.unpack_from("<I", data, 4)
    moved = bytearray(data)
    struct.pack_into("<I", moved, 4, len(data) + 10)
    for name, content in (("cut.tif", data[:directory]), ("moved.tif", bytes(moved))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SlideError, match=f"{name}.*cut short"):
            open_slide(tmp_path / name)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("damage", ["cut", "zeros", "half"])
@pytest.mark.parametrize("index", [0, 9])  # 0 is compared with OpenSlide on opening
def test_a_damaged_tile_is_grey_and_all_others_are_as_they_were(
    tmp_path: Path, damage: str, index: int, direct: bool
) -> None:
    path = make_tiled_pyramid(tmp_path / "damaged.tif")
    opened = open_slide if direct else open_by_openslide
    with open_slide(path) as slide:
        tiff = slide.tiff_level(0)
        assert tiff is not None
        left, top, right, bottom = tiff.box_px(index)
        expected = slide.read_level(0)
        expected[top:bottom, left:right] = 211
        start, count = int(tiff.offsets[index]), int(tiff.byte_counts[index])
    data = bytearray(path.read_bytes())
    if damage == "zeros":
        data[start : start + count] = bytes(count)
    elif damage == "half":
        data[start + count // 2 : start + count] = bytes(count - count // 2)
    else:
        _point_past_the_end(data, start)
    path.write_bytes(data)
    with opened(path) as slide:
        slide.read_level(1)
        assert slide.unreadable.used() == []
        np.testing.assert_array_equal(slide.read_level(0), expected)
        region = slide.read_region((left + 7, top + 9), 0, (300, 280))
        np.testing.assert_array_equal(region, expected[top + 9 : top + 289, left + 7 : left + 307])
        across = tiff.tiles[0]
        assert slide.unreadable.used() == [(0, index % across, index // across)]
        assert (slide.tiff_level(0) is not None) is direct
        slide.unreadable.check()
        slide.unreadable.begin()
        slide.read_region((left, top), 0, (10, 10))
        with pytest.raises(SlideError, match=r"1 of the 1 tile needed .*: cannot read level 0, .*damaged\.tif: \S"):
            slide.unreadable.check()


def _point_past_the_end(data: bytearray, offset: int) -> None:
    """Change the table entry that holds `offset` to lie beyond the file."""
    packed = struct.pack("<I", offset)
    place = data.index(packed)
    assert data.count(packed) == 1
    data[place : place + 4] = struct.pack("<I", len(data) + 1000)


def test_directories_in_a_circle_do_not_hang(tiny_slide: Path, tmp_path: Path) -> None:
    data = bytearray(tiny_slide.read_bytes())
    (first,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * entries, first)
    (tmp_path / "circle.tif").write_bytes(data)
    with pytest.raises(SlideError, match=r"circle\.tif"):
        open_slide(tmp_path / "circle.tif")


def test_a_level_or_size_that_does_not_exist_is_refused(tiny_slide: Path) -> None:
    with open_slide(tiny_slide) as slide:
        for level in (-1, 3):
            with pytest.raises(SlideError, match=f"has levels 0 to 2, asked for {level}"):
                slide.read_level(level)
        with pytest.raises(SlideError, match="size -1 x 5"):
            slide.read_region((0, 0), 0, (-1, 5))
        assert slide.read_region((0, 0), 0, (0, 5)).shape == (5, 0, 3)
