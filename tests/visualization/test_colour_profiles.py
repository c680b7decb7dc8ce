"""A slide's ICC profile: pictures for people are converted, CLAM's carry it."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from mil_heatmaps.export.deepzoom import write_deepzoom
from mil_heatmaps.export.pyramid import write_ome_tiff
from mil_heatmaps.insight.thumbnails import _ground
from mil_heatmaps.scores.patch_scores import PatchScores
from mil_heatmaps.scores.quick_read import QuickScores
from mil_heatmaps.slides.colour_profile import embedded_profile, srgb_converter, srgb_profile
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.reader import open_slide
from mil_heatmaps.visualization.drawing import Drawing
from mil_heatmaps.visualization.overlay import draw, draw_to_file
from tests.helpers.drawings import planned


def _wide_gamut() -> bytes:
    """Return an sRGB profile whose red primary is moved, so that colours change."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = data.index(b"rXYZ")
    place = int.from_bytes(data[at + 4 : at + 8], "big")
    data[place + 8 : place + 12] = int(0.6 * 65536).to_bytes(4, "big")
    return bytes(data).replace("sRGB".encode("utf-16-be"), "wide".encode("utf-16-be")).replace(b"sRGB", b"wide")


@pytest.fixture
def drawing(tmp_path: Path) -> Drawing:
    picture = Image.fromarray(np.full((64, 96, 3), (200, 90, 120), np.uint8))
    picture.save(tmp_path / "slide.png", icc_profile=_wide_gamut())
    return planned([1.0, 2.0], [[0, 0], [32, 0]], open_slide(tmp_path / "slide.png"), patch_size=32, segment=False)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_a_picture_of_stored_pixels_carries_the_profile_of_the_slide(
    drawing: Drawing, tmp_path: Path, suffix: str
) -> None:
    for how, expected in (("embed", drawing.slide.icc_profile), ("ignore", None), ("convert", srgb_profile())):
        draw_to_file(tmp_path / f"a.{suffix}", replace(drawing, color_profile=how))  # type: ignore[arg-type]
        with Image.open(tmp_path / f"a.{suffix}") as picture:
            assert picture.info.get("icc_profile") == expected


def test_an_ome_tiff_carries_the_profile_of_its_pixels(drawing: Drawing, tmp_path: Path) -> None:
    for how, expected in (("embed", drawing.slide.icc_profile), ("ignore", None), ("convert", srgb_profile())):
        write_ome_tiff(tmp_path / "a.ome.tif", replace(drawing, color_profile=how))  # type: ignore[arg-type]
        with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
            tag = tiff.pages[0].tags.get(34675)  # type: ignore[union-attr]
            assert (None if tag is None else tag.value) == expected


@pytest.mark.parametrize("tile_format", ["jpeg", "png"])
def test_every_tile_of_a_deepzoom_carries_the_profile_of_its_pixels(
    drawing: Drawing, tmp_path: Path, tile_format: Literal["jpeg", "png"]
) -> None:
    for how, expected in (("embed", drawing.slide.icc_profile), ("ignore", None), ("convert", srgb_profile())):
        shown = replace(drawing, color_profile=how)  # type: ignore[arg-type]
        write_deepzoom(tmp_path / "a.dzi", shown, tile_format=tile_format, tile_size=32)
        tiles = sorted((tmp_path / "a_files").rglob(f"*.{tile_format}"))
        assert len(tiles) > 5
        for tile in tiles:
            with Image.open(tile) as picture:
                picture.load()
                assert picture.info.get("icc_profile") == expected


def test_only_converted_pictures_have_other_pixels(drawing: Drawing) -> None:
    stored, ignored, converted = (draw(replace(drawing, color_profile=how)) for how in ("embed", "ignore", "convert"))
    np.testing.assert_array_equal(stored, ignored)
    assert abs(stored[50, 80].astype(int) - converted[50, 80]).max() > 5
    assert draw(replace(drawing, blank_canvas=True, color_profile="convert"))[50, 80].tolist() == [255] * 3


def test_a_slide_without_profile_has_none_embedded() -> None:
    assert embedded_profile(None, "convert") is None
    assert srgb_profile() == srgb_profile()


def test_thumbnails_of_a_study_are_in_srgb(tmp_path: Path) -> None:
    grid = PatchGrid(np.array([[0, 0]], np.int64), (32, 32), (32, 32))
    scores = PatchScores(grid, np.ones((1, 1), np.float32), ("attention",), "attention_logit")
    read = QuickScores(scores, grid, slide_size_l0=(96, 64))
    Image.fromarray(np.full((64, 96, 3), (200, 90, 120), np.uint8)).save(tmp_path / "o.png", icc_profile=_wide_gamut())
    stored, _ = _ground(read, None)
    shown, _ = _ground(read, tmp_path / "o.png")
    assert shown.shape == stored.shape
    converter = srgb_converter(_wide_gamut())
    assert converter is not None
    expected = converter(np.full((1, 1, 3), (200, 90, 120), np.uint8))[0, 0]
    assert abs(shown[5, 5].astype(int) - expected).max() <= 1
