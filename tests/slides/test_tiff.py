"""Tiles decoded straight from the file: proven against OpenSlide, given up on any surprise."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from mil_heatmaps.slides.bands import ON_PIXEL, cut_bands
from mil_heatmaps.slides.pixels import UInt8Array
from mil_heatmaps.slides.reader import Slide, open_slide
from mil_heatmaps.slides.sources import RGB, OpenSlideSource
from mil_heatmaps.slides.tiff_headers import read_directories
from mil_heatmaps.slides.write_pyramid import write_pyramid
from tests.helpers.slides import make_svs_like, make_tiled_pyramid, open_by_openslide, tissue_picture


@pytest.mark.parametrize(
    ("options", "compression", "photometric"),
    [
        ({}, 7, 6),
        ({"rgb_jpeg": True}, 7, 2),
        ({"compression": "deflate"}, 8, 2),
        ({"compression": "lzw"}, 5, 2),
        ({"compression": "none"}, 1, 2),
        ({"svs": True, "compression": "jpeg2000"}, 33005, 2),
    ],
)
def test_every_usual_compression_is_decoded_to_openslides_pixels(
    tmp_path: Path, options: dict[str, object], compression: int, photometric: int
) -> None:
    path = make_tiled_pyramid(tmp_path / "x.tif", (700, 500), downsamples=(1, 4), **options)
    with open_slide(path) as slide, open_by_openslide(path) as other:
        for level in range(2):
            tiff = slide.tiff_level(level)
            assert tiff is not None
            assert (tiff.compression, tiff.photometric) == (compression, photometric)
            np.testing.assert_array_equal(slide.read_level(level), other.read_level(level))


@pytest.mark.parametrize(
    ("pixels", "options", "is_rgb8"),
    [
        (np.zeros((80, 96, 3), np.uint8), {"photometric": "rgb"}, True),
        (np.zeros((80, 96, 3), np.uint8), {"photometric": "rgb", "compression": "jpeg"}, True),
        (np.zeros((80, 96, 3), np.uint16), {"photometric": "rgb"}, False),
        (np.zeros((80, 96, 4), np.uint8), {"photometric": "rgb", "extrasamples": ["unassalpha"]}, False),
        (np.zeros((3, 80, 96), np.uint8), {"photometric": "rgb", "planarconfig": "separate"}, False),
        (np.zeros((80, 96), np.uint8), {"photometric": "minisblack"}, False),
    ],
)
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_a_directory_says_what_tifffile_says(
    tmp_path: Path, pixels: UInt8Array, options: dict[str, Any], is_rgb8: bool, byteorder: str
) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, pixels, tile=(32, 32), byteorder=byteorder, **options)
    (directory,) = read_directories(path)
    assert directory.is_rgb8 is is_rgb8
    with tifffile.TiffFile(path) as tiff, path.open("rb") as file:
        page = tiff.pages[0]
        assert directory.offsets is not None
        assert directory.byte_counts is not None
        assert directory.offsets.read(file).tolist() == list(page.dataoffsets)
        assert directory.byte_counts.read(file).tolist() == list(page.databytecounts)
        assert (directory.photometric, directory.compression) == (int(page.photometric), int(page.compression))
        chroma = directory.subsampling
        assert (None if chroma is None else tuple(chroma.read(file).tolist())) == page.subsampling


def test_a_lossless_slide_gives_back_the_picture(tmp_path: Path) -> None:
    picture = tissue_picture(700, 500)
    path = write_pyramid(tmp_path / "x.tif", picture, downsamples=(1,), compression="deflate")
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read_level(0), picture)


@pytest.mark.parametrize("rgb_jpeg", [False, True])
def test_a_jpeg_slide_keeps_the_pictures_colours(tmp_path: Path, rgb_jpeg: bool) -> None:
    picture = np.zeros((256, 512, 3), np.uint8)
    colours = [(244, 244, 244), (214, 140, 180), (30, 60, 200), (10, 160, 20)]
    for i, colour in enumerate(colours):
        picture[:, 128 * i : 128 * (i + 1)] = colour
    path = write_pyramid(tmp_path / "x.tif", picture, downsamples=(1,), rgb_jpeg=rgb_jpeg)
    with open_slide(path) as slide:
        level = slide.read_level(0)
    for i, colour in enumerate(colours):
        np.testing.assert_allclose(level[128, 64 + 128 * i], colour, atol=3)


def test_the_tile_table_finds_every_tile(tiny_slide: Path) -> None:
    with open_slide(tiny_slide) as slide:
        tiff, level = slide.tiff_level(1), slide.read_level(1)
        assert tiff is not None
        assert (tiff.size_px, tiff.tile_px, tiff.tiles, len(tiff)) == ((512, 384), (256, 256), (2, 2), 4)
        assert tiff.subsampling == (2, 2)
        assert tiff.jpeg_tables is None
        for index in range(4):
            x, y = index % 2 * 256, index // 2 * 256
            tile = tiff.decode(index)
            assert tile.shape == (256, 256, 3)
            np.testing.assert_array_equal(tile[: 384 - y], level[y : y + 256, x : x + 256])
            np.testing.assert_array_equal(tiff.decode_raw(tiff.read_raw(index)), tile)


def test_jpeg_tables_kept_apart_from_the_tiles_are_used(real_slides: Path) -> None:
    with open_slide(real_slides / "CMU-1-Small-Region.svs") as slide:
        tiff = slide.tiff_level(0)
        assert tiff is not None
        assert tiff.jpeg_tables is not None
        np.testing.assert_array_equal(tiff.decode(14), slide.read_region((4 * 240, 240), 0, (240, 240)))


def test_a_level_that_decodes_differently_is_left_to_openslide(tiny_slide: Path) -> None:
    class OtherPixels(OpenSlideSource):
        def read(self, *place: Any) -> RGB:
            return super().read(*place) ^ 1

    with Slide(tiny_slide, OtherPixels(tiny_slide)) as slide, open_slide(tiny_slide) as usual:
        assert slide.tiff_level(0) is None
        np.testing.assert_array_equal(slide.read_level(1), usual.read_level(1) ^ 1)


def test_a_difference_in_the_last_pixel_of_tiles_is_enough_at_any_scale(tmp_path: Path) -> None:
    class OtherLastPixel(OpenSlideSource):
        def read(self, *place: Any) -> RGB:
            pixels = super().read(*place)
            pixels[-1, -1] ^= 1
            return pixels

    path = make_tiled_pyramid(tmp_path / "odd.tif", (2051, 1533), downsamples=(1, 3.99, 15.2))
    with Slide(path, OtherLastPixel(path)) as slide, open_slide(path) as usual:
        assert [slide.tiff_level(level) for level in range(slide.level_count)] == [None] * 3
        assert all(usual.tiff_level(level) is not None for level in range(3))


def test_tiles_never_written_are_white_and_an_svs_with_such_is_left_to_openslide(tmp_path: Path) -> None:
    picture = np.full((768, 768, 3), 100, np.uint8)
    for svs in (False, True):
        path = write_pyramid(tmp_path / f"{svs}.tif", picture, downsamples=(1, 4), svs=svs)
        with tifffile.TiffFile(path, mode="r+b") as tiff:
            counts = list(tiff.pages[0].databytecounts)
            counts[4] = 0
            tiff.pages[0].tags["TileByteCounts"].overwrite(counts)
            offsets = list(tiff.pages[0].dataoffsets)
            offsets[4] = 0
            tiff.pages[0].tags["TileOffsets"].overwrite(offsets)
        with open_slide(path) as slide:
            level = slide.read_level(0)
            assert (slide.tiff_level(0) is None) is svs
        if not svs:
            assert (level[256:512, 256:512] == 255).all()
            assert (level[:256] < 255).all()


def test_a_striped_level_beside_tiled_ones_is_no_surprise(tmp_path: Path) -> None:
    with open_slide(make_svs_like(tmp_path / "x.svs", (700, 500))) as slide:
        assert slide.level_count == 3
        assert all(slide.tiff_level(level) is not None for level in range(3))


@pytest.mark.parametrize("downsample", [1.0, 2.0005, 3.9986, 4.0007, 16.019, 31.7])
@pytest.mark.parametrize("height", [1, 99, 100, 2500])
def test_bands_cover_a_read_in_order_and_keep_to_the_size_allowed(downsample: float, height: int) -> None:
    bands = cut_bands(downsample, 50, height, call_pixels=5000)
    assert [band.start_px for band in bands] == [0, *(band.stop_px for band in bands[:-1])]
    assert bands[-1].stop_px == height
    assert all(band.start_px < band.stop_px <= band.start_px + 400 for band in bands)


def test_bands_begin_on_whole_level_0_pixels_where_there_are_any() -> None:
    for downsample in (1.0, 4.0, 3.75, 4.01):
        for band in cut_bands(downsample, 50, 2500, call_pixels=5000):
            assert abs(band.start_l0 / downsample - band.start_px) < ON_PIXEL
    wrong = [abs(b.start_l0 / 4.00002 - b.start_px) for b in cut_bands(4.00002, 50, 25000, call_pixels=5000)]
    assert max(wrong) <= 0.126
    assert wrong[0] == 0


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"downsamples": (4, 16)}, "begin with 1"),
        ({"downsamples": ()}, "begin with 1"),
        ({"downsamples": (1, 16, 4)}, "rise"),
        ({"compression": "jpeg2000"}, "svs=True"),
    ],
)
def test_a_slide_that_no_reader_would_take_is_not_written(
    tmp_path: Path, options: dict[str, object], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        make_tiled_pyramid(tmp_path / "x.tif", (300, 200), **options)
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8"):
        write_pyramid(tmp_path / "x.tif", np.zeros((4, 4), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_the_same_picture_is_written_as_the_same_bytes(tmp_path: Path) -> None:
    one, two = (make_svs_like(tmp_path / name, (600, 400)) for name in ("1.svs", "2.svs"))
    assert one.read_bytes() == two.read_bytes()
