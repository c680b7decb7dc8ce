"""Patches read together equal patches read one by one, and no tile is decoded twice."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openslide
import pytest
from PIL import Image

from mil_heatmaps.errors import SlideError
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.patch_reader import PatchReader
from mil_heatmaps.slides.read_plan import (
    PatchReading,
    level0_magnification,
    reading_at_level,
    reading_for_grid,
    size_l0_for_magnification,
    size_l0_for_mpp,
)
from mil_heatmaps.slides.reader import Slide, open_slide
from mil_heatmaps.slides.shared_tiles import SharedTiles
from mil_heatmaps.slides.tiff_levels import TiffLevel
from mil_heatmaps.slides.write_pyramid import write_pyramid
from tests.helpers.slides import make_single_level, open_by_openslide, tissue_picture
from tests.helpers.waiting import LONG_S


def lattice(width: int, height: int, size: int, step: int) -> PatchGrid:
    """Patches over everything, column by column, sticking out on the right and below."""
    x, y = np.meshgrid(np.arange(0, width, step), np.arange(0, height, step), indexing="ij")
    return PatchGrid(np.stack([x.ravel(), y.ravel()], 1).astype(np.int64), (size, size), (step, step))


def scattered(slide: Slide, n: int, size: int) -> PatchGrid:
    """Patches anywhere, some partly or wholly outside the slide, in no order."""
    rng = np.random.default_rng(3)
    width, height = slide.dimensions_l0
    coords = np.stack([rng.integers(-200, width + 50, n), rng.integers(-200, height + 50, n)], 1)
    return PatchGrid(coords.astype(np.int64), (size, size), (size, size))


def read_all(reader: PatchReader, n: int, batch_size: int = 7) -> npt.NDArray[np.uint8]:
    """Everything in the grid's order; each patch must come once."""
    width, height = reader.reading.patch_px
    out, seen = np.zeros((n, height, width, 3), np.uint8), np.zeros(n, int)
    for indices, pixels in reader.batches(batch_size):
        out[indices] = pixels
        seen[indices] += 1
    assert (seen == 1).all()
    return out


def one_by_one(slide: Slide, grid: PatchGrid, reading: PatchReading) -> npt.NDArray[np.uint8]:
    return np.stack([slide.read_region((x, y), reading.level, reading.read_px) for x, y in grid.coords_l0.tolist()])


@pytest.mark.parametrize("fixture", ["tiny_slide", "tiny_svs", "single_level_slide"])
def test_level_0_pixels_are_exactly_those_of_single_reads(fixture: str, request: pytest.FixtureRequest) -> None:
    with open_slide(request.getfixturevalue(fixture)) as slide:
        grid = scattered(slide, 50, 100)
        reading = reading_at_level(slide, patch_size=100)
        got = read_all(PatchReader(slide, grid, reading, threads=3), 50)
        assert np.array_equal(got, one_by_one(slide, grid, reading))


@pytest.mark.parametrize(("tile_px", "size_px"), [(256, 60), (64, 150), (32, 100)])
@pytest.mark.parametrize("level", [1, 2])
def test_between_the_pixels_of_a_level_patches_are_openslides_to_the_last_bit(
    tile_px: int, size_px: int, level: int, tmp_path: Path
) -> None:
    """On the seams between tiles and at the slide's border, too."""
    # 2051 and 1533 do not divide by 4: corners fall between pixels. Noise of full contrast, so that rounding shows.
    noise = np.random.default_rng(0).integers(0, 256, (384, 513, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    picture = np.ascontiguousarray(noise[:1533, :2051])
    path = write_pyramid(tmp_path / "odd.tif", picture, tile_px=tile_px, compression="deflate")
    with open_slide(path) as slide, openslide.OpenSlide(path) as reference:
        grid, reading = scattered(slide, 60, size_px), reading_at_level(slide, patch_size=size_px, level=level)
        got = read_all(PatchReader(slide, grid, reading, threads=2), 60)
        compared = 0
        for corner, patch in zip(grid.coords_l0.tolist(), got, strict=True):
            theirs = np.asarray(reference.read_region(tuple(corner), level, (size_px, size_px)))
            # OpenSlide's rounding leaves some pixels of a seam at 254; the slide's border has less.
            inside = theirs[..., 3] >= 254
            compared += np.count_nonzero(inside)
            np.testing.assert_array_equal(patch[inside], theirs[..., :3][inside])
        assert compared > 100_000


def count_decoded(slide: Slide, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of every tile of level 0 that is decoded from now on."""
    assert slide.tiff_level(0) is not None  # opening it decodes some tiles to prove them
    decoded: list[int] = []
    decode = TiffLevel.decode

    def counted(level: TiffLevel, index: int) -> npt.NDArray[np.uint8]:
        decoded.append(index)
        return decode(level, index)

    monkeypatch.setattr(TiffLevel, "decode", counted)
    return decoded


def test_with_overlap_every_tile_is_decoded_once(tiny_slide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_slide(tiny_slide) as slide:
        grid = lattice(2048, 1536, 256, 128)
        expected = one_by_one(slide, grid, reading_at_level(slide, patch_size=256))
        decoded = count_decoded(slide, monkeypatch)
        assert np.array_equal(read_all(PatchReader(slide, grid, threads=4), len(grid)), expected)
        assert sorted(decoded) == list(range(8 * 6))


def test_formats_without_a_tile_table_are_read_in_blocks(tiny_slide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_slide(tiny_slide) as slide:
        monkeypatch.setattr(slide, "tiff_level", lambda level: None)
        calls: list[int] = []
        plain = slide.read_region

        def counted(*arguments: Any) -> npt.NDArray[np.uint8]:
            calls.append(1)
            return plain(*arguments)

        monkeypatch.setattr(slide, "read_region", counted)
        grid = lattice(2048, 1536, 256, 128)
        reader = PatchReader(slide, grid, threads=2)
        got = read_all(reader, len(grid))
        assert len(calls) == 4 * 3
        assert np.array_equal(got, one_by_one(slide, grid, reader.reading))


def test_a_plain_picture_is_read_too(tmp_path: Path) -> None:
    picture = tissue_picture(300, 200)
    Image.fromarray(picture).save(tmp_path / "plain.png")
    with open_slide(tmp_path / "plain.png") as slide:
        grid = lattice(300, 200, 64, 40)
        got = read_all(PatchReader(slide, grid, threads=2), len(grid))
        for (x, y), patch in zip(grid.coords_l0.tolist(), got, strict=True):
            inside = picture[y : y + 64, x : x + 64]
            assert np.array_equal(patch[: inside.shape[0], : inside.shape[1]], inside)
            assert (patch[inside.shape[0] :] == 255).all()


def test_the_order_does_not_depend_on_threads_and_can_be_taken_up_midway(tiny_slide: Path) -> None:
    with open_slide(tiny_slide) as slide:
        grid = scattered(slide, 60, 128)
        orders = [PatchReader(slide, grid, threads=t).order for t in (1, 4)]
        assert np.array_equal(orders[0], orders[1])
        assert sorted(orders[0].tolist()) == list(range(60))
        rest = list(PatchReader(slide, grid, threads=2).batches(8, start=33))
        assert np.concatenate([indices for indices, _ in rest]).tolist() == orders[0][33:].tolist()
        assert [len(indices) for indices, _ in rest] == [8, 8, 8, 3]
        everything = read_all(PatchReader(slide, grid), 60)
        for indices, pixels in rest:
            assert np.array_equal(pixels, everything[indices])


def test_too_little_room_for_tiles_costs_time_not_pixels(tiny_slide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_slide(tiny_slide) as slide:
        grid = lattice(2048, 1536, 256, 128)
        expected = one_by_one(slide, grid, reading_at_level(slide, patch_size=256))
        decoded = count_decoded(slide, monkeypatch)
        reader = PatchReader(slide, grid, threads=2, most_bytes=3 * 256 * 256 * 3)
        assert np.array_equal(read_all(reader, len(grid)), expected)
        assert len(decoded) > len(set(decoded)) == 8 * 6


def test_custom_downsample_reads_more_and_shrinks_as_clam(tiny_slide: Path) -> None:
    with open_slide(tiny_slide) as slide:
        reading = reading_at_level(slide, patch_size=64, custom_downsample=2)
        assert reading == PatchReading(0, (128, 128), (64, 64))
        grid = lattice(600, 500, 128, 100)
        got = read_all(PatchReader(slide, grid, reading), len(grid))
        for patch, pixels in zip(got, one_by_one(slide, grid, reading), strict=True):
            assert np.array_equal(patch, np.asarray(Image.fromarray(pixels).resize((64, 64))))


def test_prepare_runs_on_every_patch_and_its_result_is_yielded(tiny_slide: Path) -> None:
    with open_slide(tiny_slide) as slide:
        grid = lattice(500, 400, 100, 100)
        threads = set()

        def means(batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            threads.add(threading.get_ident())
            return np.asarray(batch.mean((1, 2), dtype=np.float32))

        expected = read_all(PatchReader(slide, grid), len(grid)).mean((1, 2), dtype=np.float32)
        for indices, values in PatchReader(slide, grid, threads=2).batches(6, prepare=means):
            assert np.array_equal(values, expected[indices])
        assert len(threads) > 1


def test_a_consumer_that_stops_leaves_no_threads(tiny_slide: Path) -> None:
    with open_slide(tiny_slide) as slide:
        batches = PatchReader(slide, lattice(2048, 1536, 64, 64), threads=4).batches(4)
        next(batches)
        batches.close()  # type: ignore[attr-defined]
        assert not [t for t in threading.enumerate() if t.name.startswith("patches")]


@pytest.mark.parametrize("direct", [True, False])
def test_patches_on_a_damaged_tile_are_grey_there_and_told(tmp_path: Path, direct: bool) -> None:
    path = make_single_level(tmp_path / "damaged.tif", (1024, 768))
    with open_slide(path) as slide:
        level = slide.tiff_level(0)
        assert level is not None
        # Not one of the tiles compared with OpenSlide when the level is opened.
        offset, count = int(level.offsets[6]), int(level.byte_counts[6])
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\0" * count)
    grid = lattice(1024, 768, 256, 128)
    with open_slide(path) if direct else open_by_openslide(path) as slide:
        reader = PatchReader(slide, grid, threads=2)
        whole = np.pad(slide.read_level(0), ((0, 256), (0, 256), (0, 0)), constant_values=255)
        assert (whole[256:512, 512:768] == 211).all()
        told = []
        for indices, patches in reader.batches(8):
            told += indices[reader.unreadable(indices)].tolist()
            for (x, y), patch in zip(grid.coords_l0[indices].tolist(), patches, strict=True):
                np.testing.assert_array_equal(patch, whole[y : y + 256, x : x + 256])
    x, y = grid.coords_l0.T
    assert sorted(told) == np.flatnonzero((abs(x - 512) < 256) & (abs(y - 256) < 256)).tolist()


def test_an_empty_grid_yields_nothing(tiny_slide: Path) -> None:
    with open_slide(tiny_slide) as slide:
        grid = PatchGrid(np.empty((0, 2), np.int64), (64, 64), (64, 64))
        assert list(PatchReader(slide, grid).batches(4)) == []


def test_one_thread_waits_for_the_tile_another_decodes() -> None:
    started, go = threading.Event(), threading.Event()
    decoded: list[int] = []

    def decode(index: int) -> npt.NDArray[np.uint8]:
        decoded.append(index)
        started.set()
        assert go.wait(LONG_S)
        return np.full((2, 2, 3), index, np.uint8)

    tiles = SharedTiles(decode, np.array([2, 0]), 1 << 20)
    found: list[npt.NDArray[np.uint8]] = []
    threads = [threading.Thread(target=lambda: found.append(tiles.get(0))) for _ in range(2)]
    threads[0].start()
    assert started.wait(LONG_S)
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join(LONG_S)
    assert len(found) == 2
    assert found[0] is found[1]
    assert decoded == [0]


# Which level, which size ------------------------------------------------------------------------------------


def test_the_coarsest_level_that_is_fine_enough_is_read(tiny_slide: Path) -> None:
    with open_slide(tiny_slide) as slide:  # levels 1, 4, 16
        for size, patch, expected in (
            (256, 256, PatchReading(0, (256, 256), (256, 256))),
            (512, 256, PatchReading(0, (512, 512), (256, 256))),
            (1024, 256, PatchReading(1, (256, 256), (256, 256))),
            (2048, 256, PatchReading(1, (512, 512), (256, 256))),
        ):
            grid = PatchGrid(np.zeros((1, 2), np.int64), (size, size), (size, size))
            assert reading_for_grid(slide, grid, patch_px=patch) == expected


def test_sizes_follow_resolution_and_magnification(tiny_slide: Path) -> None:
    with open_slide(tiny_slide) as slide:  # 0.5 um/px: 20x
        assert level0_magnification(slide) == 20
        assert size_l0_for_mpp(slide, 256, 1.0) == 512
        assert size_l0_for_magnification(slide, 256, 10) == 512
        assert size_l0_for_magnification(slide, 256, 15) == 341


def test_a_slide_without_resolution_says_so(tmp_path: Path) -> None:
    with open_slide(make_single_level(tmp_path / "bare.tif", (300, 200), mpp=None)) as slide:
        assert level0_magnification(slide) is None
        with pytest.raises(SlideError, match=r"bare\.tif.*data_arguments.slide_mpp, or patch_level and patch_size"):
            size_l0_for_mpp(slide, 256, 0.5)
        with pytest.raises(SlideError, match="neither its resolution nor its objective"):
            size_l0_for_magnification(slide, 256, 20)


def test_a_level_that_is_not_there_is_named(tiny_slide: Path) -> None:
    with open_slide(tiny_slide) as slide, pytest.raises(SlideError, match="patch_level 3 is not in"):
        reading_at_level(slide, patch_size=64, level=3)
