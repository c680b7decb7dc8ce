"""Levels and tiles: complete, exact, in the colours a screen expects, within bounded memory."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from mil_heatmaps.errors import SlideError
from mil_heatmaps.slides.reader import open_slide
from mil_heatmaps.viewer.jpeg_tiles import serves_own_tiles, standalone_jpeg
from mil_heatmaps.viewer.open_slides import OpenSlides
from mil_heatmaps.viewer.pyramid import view_levels
from mil_heatmaps.viewer.tile_slide import TileSlide
from tests.helpers.slides import tissue_picture


def test_levels_step_by_about_two_and_end_in_one_tile(tiny_slide: Path) -> None:
    with open_slide(tiny_slide) as slide:
        levels = view_levels(slide)
    assert [level.origin for level in levels] == ["slide", "shrunk", "slide", "shrunk", "slide"]
    assert [round(level.downsample[0]) for level in levels] == [16, 8, 4, 2, 1]
    assert levels[0].tiles == (1, 1)


def test_a_single_level_slide_is_halved_from_an_overview(single_level_slide: Path) -> None:
    with open_slide(single_level_slide) as slide:
        levels = view_levels(slide)
    assert [(level.origin, level.factor) for level in levels] == [("overview", 4), ("overview", 2), ("slide", 1)]


@pytest.mark.parametrize("rgb_jpeg", [False, True])
def test_the_files_own_jpeg_tiles_are_sent_where_whole_and_decode_to_its_pixels(tmp_path: Path, rgb_jpeg: bool) -> None:
    from mil_heatmaps.slides.write_pyramid import write_pyramid

    path = write_pyramid(tmp_path / "own.tif", tissue_picture(700, 600), rgb_jpeg=rgb_jpeg)
    with TileSlide(path) as opened:
        finest = len(opened.levels) - 1
        tiff = opened.slide.tiff_level(0)
        assert tiff is not None
        assert serves_own_tiles(tiff)
        inner = opened.tile(finest, 1, 1)
        assert inner == standalone_jpeg(tiff, tiff.read_raw(tiff.tiles[0] + 1))
        decoded = imagecodecs.jpeg8_decode(inner)
        expected = opened.slide.read_region((256, 256), 0, (256, 256))
        assert np.abs(decoded.astype(int) - expected).mean() < 1.5
        edge = imagecodecs.jpeg8_decode(opened.tile(finest, 2, 2))
        assert edge.shape == (600 - 512, 700 - 512, 3)
        assert np.abs(edge.astype(int) - opened.slide.read_region((512, 512), 0, (188, 88))).mean() < 4


@pytest.mark.parametrize("size", [(1000, 701), (513, 257), (300, 1025)])
def test_edge_cells_average_what_the_slide_has(tmp_path: Path, size: tuple[int, int]) -> None:
    from mil_heatmaps.slides.write_pyramid import write_pyramid

    path = write_pyramid(tmp_path / "odd.tif", tissue_picture(*size), compression="deflate")
    with TileSlide(path) as opened:
        full = opened.slide.read_level(0).astype(float)
        for number, level in enumerate(opened.levels):
            if level.origin == "slide" and level.source:
                continue  # levels the file has are its own affair
            factor = round(level.downsample[0])
            padded = np.pad(full, ((0, -size[1] % factor), (0, -size[0] % factor), (0, 0)), "edge")
            height, width = padded.shape[0] // factor, padded.shape[1] // factor
            expected = padded.reshape(height, factor, width, factor, 3).mean((1, 3))
            if level.source:
                continue
            assert level.size_px == (width, height)
            seen = np.concatenate(
                [
                    np.concatenate([opened.pixels(number, level.box_px(c, r)) for c in range(level.tiles[0])], axis=1)
                    for r in range(level.tiles[1])
                ]
            )
            assert np.abs(seen - expected).max() <= 1


def test_an_icc_profile_is_converted_to_srgb(tmp_path: Path) -> None:
    from PIL import Image, ImageCms

    from mil_heatmaps.slides.colour_profile import srgb_converter

    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert srgb_converter(None) is None
    assert srgb_converter(srgb) is None  # nothing to convert
    assert srgb_converter(lab) is None  # not a profile of RGB pixels
    assert srgb_converter(b"damaged") is None
    pixels = tissue_picture(300, 200)
    wide = _wide_gamut_profile()
    Image.fromarray(pixels).save(tmp_path / "wide.png", icc_profile=wide)
    with TileSlide(tmp_path / "wide.png") as opened:
        assert opened.colour_profile == "test wide gamut"
        shown = opened.pixels(len(opened.levels) - 1, (0, 0, 256, 200))
    pink, before = shown[70, 84].astype(int), pixels[70, 84].astype(int)
    assert pink.max() - pink.min() > before.max() - before.min()  # a wide gamut's numbers are paler than sRGB's
    grey = np.abs(shown[2, 2].astype(int) - pixels[2, 2]).max()
    assert grey <= 3


def _wide_gamut_profile() -> bytes:
    """An ICC profile of matrix and tone curves, built byte by byte: Adobe RGB's primaries, gamma 2.2."""
    import struct

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(x: float, y: float, z: float) -> bytes:
        return b"XYZ \0\0\0\0" + fixed(x) + fixed(y) + fixed(z)

    text = b"test wide gamut"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + b"\0" + b"\0" * 78
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    tags = {
        b"desc": description,
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.60974, 0.31111, 0.01947),
        b"gXYZ": xyz(0.20528, 0.62567, 0.06087),
        b"bXYZ": xyz(0.14919, 0.06322, 0.74457),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data
    header = struct.pack(">I", start + len(body)) + b"\0\0\0\0" + b"\x02\x40\0\0" + b"mntrRGB XYZ "
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28
    header += fixed(0.9642) + fixed(1.0) + fixed(0.8249)
    return header + b"\0" * (128 - len(header)) + table + body


def test_few_slides_are_open_at_once_and_never_closed_in_use(tmp_path: Path) -> None:
    from mil_heatmaps.slides.write_pyramid import write_pyramid

    paths = [write_pyramid(tmp_path / f"{i}.tif", tissue_picture(256, 256, i)) for i in range(4)]
    slides = OpenSlides(most_open=2)
    with slides.use(paths[0]) as first:
        for path in paths[1:]:
            with slides.use(path) as other:
                assert other.tile(0, 0, 0)
        assert first.tile(0, 0, 0)  # still open, though two others came after it
    with slides.use(paths[0]) as again:
        assert again is first
    assert len(slides._held) <= 2
    with pytest.raises(SlideError), slides.use(tmp_path / "missing.tif"):
        pass
    assert len(slides._held) <= 2
    slides.close()
