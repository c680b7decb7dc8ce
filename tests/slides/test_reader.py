"""Slides of every kind give OpenSlide's pixels, say what they know, and fail with a reason."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openslide
import pytest
from PIL import Image

from mil_heatmaps.errors import SlideError
from mil_heatmaps.slides.reader import Slide, open_slide
from mil_heatmaps.slides.resolution import decide_resolution
from mil_heatmaps.slides.sources import OpenSlideSource
from mil_heatmaps.slides.tiff_levels import TiffLevel
from tests.helpers.slides import make_svs_like, make_tiled_pyramid, open_by_openslide, tissue_picture


def by_openslide(
    path: Path, corner_l0: tuple[int, int], level: int, size_px: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """OpenSlide's pixels over white."""
    with openslide.OpenSlide(path) as slide:
        region = slide.read_region(corner_l0, level, size_px)
    white = Image.new("RGBA", size_px, "white")
    white.alpha_composite(region)
    return np.asarray(white.convert("RGB"))


@pytest.fixture(params=["tiny_slide", "tiny_svs", "single_level_slide"])
def any_slide(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


def open_directly_or_not(path: Path, direct: bool, **options: Any) -> Slide:
    """Open a slide as usual, or one that OpenSlide alone reads."""
    return open_slide(path, **options) if direct else open_by_openslide(path, **options)


@pytest.mark.parametrize("direct", [True, False])
def test_whole_levels_equal_openslide_whether_decoded_directly_or_not(any_slide: Path, direct: bool) -> None:
    with open_directly_or_not(any_slide, direct) as slide:
        for level, size_px in enumerate(slide.level_dimensions):
            expected = by_openslide(any_slide, (0, 0), level, size_px)
            np.testing.assert_array_equal(slide.read_level(level), expected)
            assert (slide.tiff_level(level) is not None) is direct


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize(
    "corner_l0", [(0, 0), (300, 200), (-70, -33), (-64, 16), (1900, 1400), (5000, 9), (333, 77)]
)
def test_regions_equal_openslide_inside_across_and_outside_the_slide(
    tiny_slide: Path, corner_l0: tuple[int, int], direct: bool
) -> None:
    with open_directly_or_not(tiny_slide, direct) as slide:
        for level in range(slide.level_count):
            region = slide.read_region(corner_l0, level, (120, 90))
            expected = by_openslide(tiny_slide, corner_l0, level, (120, 90))
            # A border that falls between pixels is half transparent; blending rounds once here, twice there.
            np.testing.assert_allclose(region.astype(int), expected, atol=2)
            inside = corner_l0 in ((0, 0), (300, 200)) and level == 0
            assert not inside or np.array_equal(region, expected)


def test_what_lies_outside_the_slide_is_white(tiny_slide: Path) -> None:
    with open_slide(tiny_slide) as slide:
        assert (slide.read_region((-500, -500), 0, (400, 400)) == 255).all()
        corner = slide.read_region((-10, -10), 0, (20, 20))
    assert (corner[:10] == 255).all()
    assert (corner[10:, 10:] < 255).all()


def test_transparent_pixels_are_white(tmp_path: Path) -> None:
    rgba = np.zeros((4, 6, 4), np.uint8)
    rgba[:, :2] = 10, 20, 30, 255
    rgba[:, 2:4] = 100, 100, 100, 128
    Image.fromarray(rgba).save(tmp_path / "glass.png")
    with open_slide(tmp_path / "glass.png") as slide:
        row = slide.read_level(0)[0]
    assert row.tolist() == [[10, 20, 30]] * 2 + [[177, 177, 177]] * 2 + [[255, 255, 255]] * 2


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("rows", [1, 7, 100, 256, 300, 5000])
def test_strips_of_any_height_add_up_to_the_level(tiny_svs: Path, rows: int, direct: bool) -> None:
    with open_directly_or_not(tiny_svs, direct) as slide:
        strips = list(slide.iter_strips(1, rows=rows))
        level = slide.read_level(1)
    assert [y0 for y0, _ in strips] == list(range(0, len(level), rows))
    np.testing.assert_array_equal(np.concatenate([strip for _, strip in strips]), level)


def test_rows_are_a_part_of_the_level_and_never_outside_it(tiny_slide: Path) -> None:
    with open_slide(tiny_slide) as slide:
        np.testing.assert_array_equal(slide.read_rows(1, 100, 301), slide.read_level(1)[100:301])
        assert slide.read_rows(1, 50, 50).shape == (0, 512, 3)
        with pytest.raises(SlideError, match="has rows 0 to 384, asked for 300 to 400"):
            slide.read_rows(1, 300, 400)


def test_odd_level_sizes_read_the_same_both_ways(tmp_path: Path) -> None:
    path = make_tiled_pyramid(tmp_path / "odd.tif", (2051, 1533), downsamples=(1, 3.99, 15.2))
    with open_slide(path) as direct, open_by_openslide(path) as other:
        for level in range(direct.level_count):
            assert direct.tiff_level(level) is not None
            np.testing.assert_array_equal(direct.read_level(level), other.read_level(level))
            for corner in ((0, 0), (100, 37), (555, 1001)):
                a, b = (slide.read_region(corner, level, (64, 64)) for slide in (direct, other))
                np.testing.assert_array_equal(a, b)


def test_many_threads_read_the_same_pixels(tiny_slide: Path) -> None:
    corners = [(x, y) for x in range(0, 2048, 200) for y in range(0, 1536, 200)]
    with open_slide(tiny_slide, threads=2) as slide:
        whole = slide.read_level(0)
        ready = threading.Barrier(4)

        def read(part: int) -> bool:
            ready.wait()
            return all(
                np.array_equal(
                    slide.read_region((x, y), 0, (100, 100))[: 1536 - y, : 2048 - x],
                    whole[y : y + 100, x : x + 100],
                )
                for x, y in corners[part::4]
            )

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(read, range(4)))


def test_a_slide_says_what_it_knows(tiny_slide: Path, tiny_svs: Path) -> None:
    with open_slide(tiny_slide) as slide:
        assert (slide.slide_id, slide.vendor, slide.dimensions_l0) == ("tiny", "generic-tiff", (2048, 1536))
        assert slide.level_dimensions == ((2048, 1536), (512, 384), (128, 96))
        assert slide.level_downsamples == ((1, 1), (4, 4), (16, 16))
        assert (slide.mpp, slide.mpp_note, slide.objective_power) == (0.5, None, None)
        assert repr(slide) == "Slide('tiny.tif', 2048 x 1536, levels [1, 4, 16], mpp=0.5, generic-tiff)"
    with open_slide(tiny_svs) as slide:
        assert (slide.vendor, slide.mpp, slide.objective_power) == ("aperio", 0.499, 20.0)


@pytest.mark.parametrize(
    ("properties", "mpp", "note"),
    [
        ({"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.25"}, 0.25, None),
        ({"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.27"}, 0.26, "not square"),
        ({"openslide.mpp-x": "0,5"}, 0.5, None),
        ({"openslide.mpp-x": "0", "openslide.mpp-y": "nan"}, None, "does not say"),
        ({"openslide.mpp-x": "352.8", "openslide.mpp-y": "352.8"}, None, "352.8 um/px; only 0.05 to 10"),
        (
            {"tiff.ResolutionUnit": "inch", "tiff.XResolution": "72", "tiff.YResolution": "72"},
            None,
            "352.778",
        ),
        (
            {"tiff.ResolutionUnit": "centimeter", "tiff.XResolution": "20000", "tiff.YResolution": "2e4"},
            0.5,
            None,
        ),
        (
            {"tiff.ResolutionUnit": "none", "tiff.XResolution": "1", "tiff.YResolution": "1"},
            None,
            "does not say",
        ),
        ({}, None, "does not say"),
    ],
)
def test_only_a_plausible_resolution_is_believed(
    properties: dict[str, str], mpp: float | None, note: str | None
) -> None:
    resolution = decide_resolution(properties)
    found, why = resolution.mpp, resolution.notes[0] if resolution.notes else None
    assert found == (None if mpp is None else pytest.approx(mpp))
    assert (why is None) is (note is None)
    assert note is None or note in str(why)


def test_levels_are_chosen_by_downsample(tmp_path: Path) -> None:
    path = make_tiled_pyramid(tmp_path / "x.tif", (2051, 1533), downsamples=(1, 3.99, 15.2, 32.03))
    with open_slide(path) as slide, openslide.OpenSlide(path) as reference:
        for downsample in (0.5, 1, 2, 3.98, 4, 15, 16, 30, 32, 33, 100):
            expected = reference.get_best_level_for_downsample(downsample)
            assert slide.level_for_downsample(downsample) == expected
        assert slide.mean_downsample(3) > 32
        assert [slide.level_for_downsample(32, slack=slack) for slack in (0, 0.02)] == [2, 3]
        assert [slide.nearest_level(d) for d in (0.1, 1.9, 2.5, 8, 20, 25, 500)] == [0, 0, 1, 1, 2, 3, 3]
        assert slide.clamp_level(3) == (3, None)
        assert slide.clamp_level(9) == (3, "level 9 is not in x.tif, whose deepest is 3; that one is used")


def test_shrinking_averages_whole_squares(tiny_slide: Path) -> None:
    with open_slide(tiny_slide) as slide:
        small = slide.read_shrunk(1, 5)
        level = slide.read_level(1)
        assert slide.read_shrunk(1, 1).shape == level.shape
    assert small.shape == (77, 103, 3)
    means = level[:380, :510].reshape(76, 5, 102, 5, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(small[:76, :102], means, atol=0.51)
    np.testing.assert_allclose(
        small[76, 0], level[380:, :5].repeat([1, 1, 1, 2], axis=0).mean(axis=(0, 1)), atol=0.51
    )


@pytest.mark.parametrize("max_px", [1, 100, 300, 1024, 5000])
def test_a_thumbnail_has_the_size_asked_for_and_the_slides_picture(tiny_slide: Path, max_px: int) -> None:
    with open_slide(tiny_slide) as slide:
        thumbnail = slide.thumbnail(max_px)
        mean = slide.read_level(0).mean(axis=(0, 1))
    longer = min(max_px, 2048)
    assert thumbnail.shape == (max(1, round(longer * 0.75)), longer, 3)
    # Two pixels cannot repeat edges without weighting them; everything larger is the slide's mean.
    np.testing.assert_allclose(thumbnail.mean(axis=(0, 1)), mean, atol=10 if max_px == 1 else 2)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg"])
def test_a_plain_picture_is_a_slide_of_one_level(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    Image.fromarray(tissue_picture(300, 200)).save(path, dpi=(72, 72))
    with open_slide(path) as slide:
        assert (slide.level_dimensions, slide.vendor) == (((300, 200),), "picture")
        assert slide.mpp is None
        pixels = np.asarray(Image.open(path).convert("RGB"))
        np.testing.assert_array_equal(slide.read_level(0), pixels)
        np.testing.assert_array_equal(
            slide.read_region((250, -10), 0, (100, 20))[10:, :50], pixels[:10, 250:]
        )
        assert slide.tiff_level(0) is None


def test_a_grey_or_palette_picture_is_read_as_rgb(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 77).save(tmp_path / "grey.png")
    Image.new("P", (8, 8), 0).save(tmp_path / "palette.png")
    for name in ("grey.png", "palette.png"):
        with open_slide(tmp_path / name) as slide:
            assert slide.read_level(0).shape == (8, 8, 3)


def test_closing_twice_is_fine_and_leaves_no_file_open(tmp_path: Path) -> None:
    path = make_svs_like(tmp_path / "x.svs")
    slide = open_slide(path, threads=2)
    slide.read_level(0)
    slide.close()
    slide.close()
    with pytest.raises(SlideError, match="was closed"):
        slide.read_level(0)
    opened = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)]
    assert str(path) not in opened


def _is_open(descriptor: str) -> bool:
    return os.path.exists(f"/proc/self/fd/{descriptor}")


def test_the_real_slides_are_read_as_openslide_reads_them(real_slides: Path) -> None:
    for name, mpp, power in (
        ("CMU-1-Small-Region.svs", 0.499, 20.0),
        ("TCGA-CR-7395-01A-01-TS1.svs", None, None),
    ):
        path = real_slides / name
        with open_slide(path) as slide:
            assert (slide.mpp, slide.objective_power) == (mpp, power)
            level = slide.level_count - 1
            expected = by_openslide(path, (0, 0), level, slide.level_dimensions[level])
            np.testing.assert_array_equal(slide.read_level(level), expected)
            assert slide.tiff_level(level) is not None
    with pytest.raises(SlideError, match="stored in strips"):
        open_slide(real_slides / "not_a_slide.tif")


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Return a list that gets (level, first row, row after the last) of every read below `Slide`, as they come."""
    reads: list[tuple[int, int, int]] = []
    decode, read = TiffLevel.read, OpenSlideSource.read

    def counted_decode(tiff: TiffLevel, corner_px: tuple[int, int], size_px: tuple[int, int], **options: Any) -> Any:
        reads.append((tiff.level, corner_px[1], corner_px[1] + size_px[1]))
        return decode(tiff, corner_px, size_px, **options)

    def counted_read(source: OpenSlideSource, corner_l0: tuple[int, int], level: int, size_px: tuple[int, int]) -> Any:
        reads.append((level, corner_l0[1], corner_l0[1] + size_px[1]))
        return read(source, corner_l0, level, size_px)

    monkeypatch.setattr(TiffLevel, "read", counted_decode)
    monkeypatch.setattr(OpenSlideSource, "read", counted_read)
    return reads


@pytest.mark.parametrize("direct", [True, False])
def test_a_kept_level_is_decoded_once_and_gives_the_same_pixels(
    any_slide: Path, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_directly_or_not(any_slide, direct, keep_bytes=64 << 20) as slide:
        level = slide.level_count - 1
        assert (slide.tiff_level(level) is not None) is direct  # what proves it is read before counting begins
        reads = count_reads(monkeypatch)
        for rows in (64, 100, 4096):
            strips = [strip for _, strip in slide.iter_strips(level, rows)]
            expected = by_openslide(any_slide, (0, 0), level, slide.level_dimensions[level])
            np.testing.assert_array_equal(np.concatenate(strips), expected)
            strips[0][:] = 0  # readers paint into what they are given
        assert reads == [(level, 0, slide.level_dimensions[level][1])]


def test_a_level_too_large_to_be_kept_is_read_in_strips(tiny_slide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_slide(tiny_slide) as probe:
        width, height = probe.level_dimensions[1]
    with open_slide(tiny_slide, keep_bytes=3 * width * height) as slide:
        assert all(slide.tiff_level(level) is not None for level in range(3))
        reads = count_reads(monkeypatch)
        for level in (0, 1, 1, 2, 1):
            list(slide.iter_strips(level, 256))
        assert [read for read in reads if read[0] == 0] == [
            (0, y, min(y + 256, slide.dimensions_l0[1])) for y in range(0, slide.dimensions_l0[1], 256)
        ]
        # Level 1 fills the room, so that level 2 drives it out.
        assert [level for level, _, _ in reads if level] == [1, 2, 1]
