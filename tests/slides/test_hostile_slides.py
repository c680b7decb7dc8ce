"""Slides and outlines of strangers: sizes are compared before anything believes them."""

from __future__ import annotations

import gzip
import json
import pickle
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from mil_heatmaps.errors import SlideError, TissueError
from mil_heatmaps.slides import header_checks, sources
from mil_heatmaps.slides.header_checks import headers_pass, why_opening_dies
from mil_heatmaps.slides.jpeg_header import jpeg_size
from mil_heatmaps.slides.reader import open_slide
from mil_heatmaps.slides.slide_space import is_possible_area
from mil_heatmaps.slides.tiff_headers import TiffHeaderError, read_directories
from mil_heatmaps.slides.tissue_files import read_mask


@pytest.fixture
def tiled(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", compression="jpeg")
    return path


def _changed(path: Path, *changes: tuple[int, bytes]) -> Path:
    data = bytearray(path.read_bytes())
    for at, new in changes:
        data[at : at + len(new)] = new
    path.write_bytes(data)
    return path


def _places(path: Path) -> tuple[dict[int, int], list[int], list[int]]:
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        return {tag.code: tag.valueoffset for tag in page.tags}, list(page.dataoffsets), list(page.databytecounts)


@pytest.mark.parametrize("suffix", [".tif", ".svs", ".ndpi"])
def test_a_tile_that_no_memory_holds_is_refused_with_its_size(tiled: Path, suffix: str) -> None:
    tags, *_ = _places(tiled)
    side = struct.pack("<I", 65_520)
    path = _changed(tiled, (tags[322], side), (tags[323], side)).rename(tiled.with_suffix(suffix))
    with pytest.raises(SlideError, match="declares tiles of 65520 x 65520 pixels"):
        open_slide(path)
    assert not headers_pass(path)


@pytest.mark.parametrize("tile", [0, 5, 15])
def test_one_tile_that_claims_another_size_is_grey_and_its_neighbours_are_read(tiled: Path, tile: int) -> None:
    with open_slide(tiled) as slide:
        whole = slide.read_level(0)
    _, offsets, counts = _places(tiled)
    data = tiled.read_bytes()[offsets[tile] : offsets[tile] + counts[tile]]
    frame = data.find(b"\xff\xc0")
    _changed(tiled, (offsets[tile] + frame + 5, struct.pack(">HH", 65_500, 65_500)))
    with open_slide(tiled) as slide:
        read = slide.read_level(0)
        assert [(column, row) for _, column, row in slide.unreadable.used()] == [(tile % 4, tile // 4)]
        assert "claims 65500 x 65500 pixels" in slide.unreadable.cause
    row, column = tile // 4 * 64, tile % 4 * 64
    whole[row : row + 64, column : column + 64] = read[row, column]
    assert np.array_equal(read, whole)


def test_a_tag_that_lies_beyond_the_file_hides_no_tile_that_claims_another_size(tmp_path: Path) -> None:
    path = tmp_path / "s.tif"
    pixels = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    other = (263, "H", 1, 1, True)  # made FillOrder below, which tifffile does not write
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", compression="jpeg", extratags=[other])
    with tifffile.TiffFile(path) as file:
        entry = file.pages.first.tags[263].offset
    beyond = struct.pack("<HHII", 266, 3, 100, path.stat().st_size + 1000)
    _, offsets, counts = _places(path)
    frame = path.read_bytes().find(b"\xff\xc0", offsets[5], offsets[5] + counts[5])
    _changed(path, (entry, beyond), (frame + 5, struct.pack(">HH", 65_500, 65_500)))
    assert not read_directories(path)[0].is_rgb8
    with open_slide(path) as slide:
        slide.read_level(0)
        assert "claims 65500 x 65500 pixels" in slide.unreadable.cause


def test_the_size_of_a_jpeg_is_found_behind_what_decoders_pass_over() -> None:
    frame = b"\xff\xc0\x00\x0b\x08\x00\x10\x00\x20\x03\x01\x11\x00"
    assert jpeg_size(b"\xff\xd8" + frame + bytes(8)) == (32, 16)
    assert jpeg_size(b"\xff\xd8" + b"junk" + b"\xff\xff\xfe\x00\x04ab" + frame + bytes(8)) == (32, 16)
    assert jpeg_size(b"\xff\xd8\xff\xda\x00\x02" + frame + bytes(8)) is None
    assert jpeg_size(b"") is None


def test_directories_in_a_circle_or_beyond_the_file_do_not_pass(tiled: Path) -> None:
    assert headers_pass(tiled)
    data = tiled.read_bytes()
    first = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, first)[0]
    following = first + 2 + 12 * count
    for target, message in ((first, "circle"), (len(data) + 9, "cut short")):
        path = tiled.with_name(f"{target}.tif")
        path.write_bytes(data)
        _changed(path, (following, struct.pack("<I", target)))
        with pytest.raises(TiffHeaderError, match=message):
            read_directories(path)
        assert not headers_pass(path)


def test_a_picture_that_unpacks_without_end_is_refused_with_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.png"
    Image.new("RGB", (1200, 1200)).save(path)
    with open_slide(path) as slide:
        assert slide.dimensions_l0 == (1200, 1200)
    monkeypatch.setattr(sources, "_ALWAYS_PIXELS", 1000)
    with pytest.raises(SlideError, match=r"1200 x 1200 pixels in [\d,]+ bytes"):
        open_slide(path)
    monkeypatch.setattr(sources, "MOST_PICTURE_PIXELS", 1000)
    with pytest.raises(SlideError, match="has 1200 x 1200 pixels, and up to 1,000 in all are"):
        open_slide(path)


def _ring(*points: object) -> str:
    return json.dumps({"type": "Polygon", "coordinates": [list(points)]})


DAMAGED = bytearray(gzip.compress(_ring([0, 0], [9, 0], [9, 9]).encode(), mtime=0))
DAMAGED[13] = 0xFF
NESTED: list[object] = [0, 0]
for _ in range(9):
    NESTED = [NESTED] * 10


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.geojson", _ring([int("1" * 400), 0], [1, 0], [1, 1]), "a position that is not a number"),
        (
            "a.geojson",
            '{"type":"Polygon","coordinates":[[[' + "1" * 5000 + ",0],[1,0],[1,1]]]}",
            "a position that is not a number",
        ),
        ("a.geojson", '{"type":"MultiPolygon","coordinates":[5]}', "a list of rings is needed, got 5"),
        ("a.geojson", '{"type":"MultiPolygon","coordinates":[[5]]}', "ring 0 is not a list"),
        ("a.geojson", _ring([0, 0], "ab", [1, 1]), "each must be two numbers"),
        ("a.geojson.gz", bytes(DAMAGED), "cannot read"),
        ("a.geojson.gz", gzip.compress(b" " * (1 << 26)), "text never compresses that far"),
        ("a.pkl", pickle.dumps({"tissue": [NESTED], "holes": [[]]}), "each must be two numbers"),
    ],
)
def test_an_outline_that_is_none_is_told(tmp_path: Path, name: str, data: str | bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    with pytest.raises(TissueError, match=message):
        read_mask(path)


def test_a_slide_that_ends_the_process_which_opens_it_is_told_from_one_that_does_not(
    tiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "a.mrxs"
    other.write_bytes(b"\xff\xd8\xff\xd9")
    assert why_opening_dies(other) == ""  # OpenSlide refuses it with a message
    ends = "import os, sys; print('no\\nmemory', file=sys.stderr, flush=True); os.abort()"
    monkeypatch.setattr(header_checks, "_OPEN", ends)
    assert why_opening_dies(tiled) == ""  # whose headers pass: not tried
    assert why_opening_dies(other) == (
        f"OpenSlide ends with signal 6 as soon as it opens {other} (no memory): the file is damaged"
    )


def test_a_slide_whose_tiles_lie_far_outside_of_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSlide looks for such tiles of an MRXS slide without end."""
    path = tmp_path / "a.mrxs"
    path.write_bytes(b"\xff\xd8\xff\xd9")
    area = dict.fromkeys(("openslide.bounds-x", "openslide.bounds-y"), "2147483647")
    area |= dict.fromkeys(("openslide.bounds-width", "openslide.bounds-height"), "-2147481599")
    monkeypatch.setattr(
        openslide, "OpenSlide",
        lambda path: SimpleNamespace(properties=area, level_dimensions=((2048, 1024),), close=lambda: None),
    )  # fmt: skip
    with pytest.raises(SlideError, match="places tiles far outside its 2,048 x 1,024 pixels: damaged"):
        open_slide(path)
    assert is_possible_area({}, (9, 9))
    assert is_possible_area({f"openslide.bounds-{key}": "300" for key in ("x", "y", "width", "height")}, (500, 600))
