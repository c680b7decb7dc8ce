"""The scores themselves as OME-TIFF and OME-Zarr, read back by other libraries."""

import hashlib
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile

from mil_heatmaps.export.ome_zarr import write_picture_zarr, write_score_zarr
from mil_heatmaps.export.score_pixels import ScorePicture, picture_of
from mil_heatmaps.export.score_tiff import write_score_tiff
from mil_heatmaps.scores.patch_scores import PatchScores
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.visualization.frame import Frame
from tests.helpers.drawings import planned
from tests.helpers.features import grid_coords

OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"


def picture(mpp: float | None = 0.25, corner: tuple[int, int] = (0, 0), **frame: Any) -> ScorePicture:
    """Twelve patches of 64 px from (64, 32) on, two columns, one patch without a score, on a slide of 400 x 300."""
    grid = PatchGrid(grid_coords(4, 3, 64) + np.array([64, 32]), (64, 64), (64, 64))
    values = np.stack([np.linspace(-1, 1, 12), np.arange(12)], axis=1).astype(np.float32)
    values[5] = np.nan
    file = ScoreFile(grid, PatchScores(grid, values, ("a", 'b & "c"'), "class_contribution", "score"))
    options: dict[str, Any] = {"size_px": (400, 300), "downsample": (1.0, 1.0), "corner_l0": corner, **frame}
    return picture_of(file, Frame(0, **options), "s<1>", mpp, notes=("one thing to know",))


def expected(made: ScorePicture, column: int) -> np.ndarray:
    out = np.full((300, 400), np.nan, np.float32)
    for (x, y), value in zip(made.grid.coords_l0, list(made.columns.values())[column], strict=True):
        out[y : y + 64, x : x + 64] = value
    return out


def test_every_channel_of_the_tiff_holds_the_scores_and_nan_elsewhere(tmp_path: Path) -> None:
    made = picture()
    write_score_tiff(tmp_path / "s.ome.tif", made, tile_size=128)
    with tifffile.TiffFile(tmp_path / "s.ome.tif") as tiff:
        assert tiff.is_ome
        assert tiff.is_bigtiff
        (series,) = tiff.series
        assert (series.axes, series.dtype) == ("CYX", np.float32)
        assert [level.shape for level in series.levels] == [(2, 300, 400), (2, 150, 200), (2, 75, 100)]
        for column in (0, 1):
            np.testing.assert_array_equal(series.levels[0].asarray()[column], expected(made, column))
            half = series.levels[1].asarray()[column]
            np.testing.assert_array_equal(half, expected(made, column)[::2, ::2])
        # Bio-Formats looks for tiles of multiples of 16 and for coarser levels in SubIFDs that say they are reduced.
        for page in (frame.aspage() for frame in series.levels[0].pages):
            assert page.tilewidth % 16 == page.tilelength % 16 == 0
            assert page.sampleformat == tifffile.SAMPLEFORMAT.IEEEFP
            assert len(page.subifds) == 2
        assert all(frame.aspage().subfiletype == 1 for frame in series.levels[1].pages)


def test_the_metadata_tell_names_units_ranges_place_and_notices(tmp_path: Path) -> None:
    write_score_tiff(tmp_path / "s.ome.tif", picture(corner=(40, 20)), tile_size=128)
    with tifffile.TiffFile(tmp_path / "s.ome.tif") as tiff:
        root = ElementTree.fromstring(tiff.ome_metadata or "")
    image = root.find(f"{OME}Image")
    assert image is not None
    assert image.get("Name") == "s<1>"
    assert image.findtext(f"{OME}Description") == "one thing to know"
    pixels = image.find(f"{OME}Pixels")
    assert pixels is not None
    assert (pixels.get("Type"), pixels.get("SizeC"), pixels.get("PhysicalSizeX")) == ("float", "2", "0.25")
    assert [channel.get("Name") for channel in pixels.findall(f"{OME}Channel")] == ["score a", 'score b & "c"']
    plane = pixels.find(f"{OME}Plane")
    assert plane is not None
    assert (plane.get("PositionX"), plane.get("PositionY")) == ("10", "5")
    told = {entry.get("K"): entry.text for entry in root.iter(f"{OME}M")}
    assert (told["kind"], told["min"], told["max"], told["unit"]) == ("class_contribution", "0", "11", "1")
    # Everything that is referred to is there.
    ids = {one.get("ID") for one in root.iter(f"{OME}MapAnnotation")}
    assert {one.get("ID") for one in root.iter(f"{OME}AnnotationRef")} == ids


def test_a_picture_of_equal_scores_has_equal_bytes(tmp_path: Path) -> None:
    digests = set()
    for name in ("a.ome.tif", "b.ome.tif"):
        write_score_tiff(tmp_path / name, picture(), tile_size=64)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_overlapping_patches_give_their_mean() -> None:
    grid = PatchGrid(np.array([[0, 0], [32, 0]], np.int64), (64, 64), (32, 64))
    file = ScoreFile(grid, PatchScores(grid, np.array([[1.0], [4.0]], np.float32), ("a",), "external", "a"))
    made = picture_of(file, Frame(0, (96, 64), (1.0, 1.0)), "s", None)
    from mil_heatmaps.export.score_pixels import ScorePainter

    (row,) = ScorePainter(grid, made.columns["a"], made.frame).rows(0, 1, 96)
    assert row[0, [0, 31, 32, 63, 64, 95]].tolist() == [1, 1, 2.5, 2.5, 4, 4]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_is_a_multiscale_image_in_micrometres(tmp_path: Path, version: Any) -> None:
    zarr = pytest.importorskip("zarr")
    made = picture(corner=(40, 20))
    write_score_zarr(tmp_path / "s.ome.zarr", made, version=version, chunk_size=128)
    group = zarr.open_group(str(tmp_path / "s.ome.zarr"), mode="r")
    assert group.metadata.zarr_format == (2 if version == "0.4" else 3)
    attributes = dict(group.attrs)
    told = attributes if version == "0.4" else attributes["ome"]
    (scale,) = told["multiscales"]
    assert (scale if version == "0.4" else told)["version"] == version
    assert [axis["type"] for axis in scale["axes"]] == ["channel", "space", "space"]
    assert {axis.get("unit") for axis in scale["axes"][1:]} == {"micrometer"}
    transformations = [dataset["coordinateTransformations"] for dataset in scale["datasets"]]
    assert [each[0] for each in transformations] == [
        {"type": "scale", "scale": [1.0, side, side]} for side in (0.25, 0.5, 1.0)
    ]
    assert transformations[1][1]["translation"] == [0.0, 5.125, 10.125]  # the centre of the first pixel
    levels = [group[dataset["path"]] for dataset in scale["datasets"]]
    assert [level.shape for level in levels] == [(2, 300, 400), (2, 150, 200), (2, 75, 100)]
    assert {level.chunks for level in levels} == {(1, 128, 128)}
    shifted = np.full((300, 400), np.nan, np.float32)
    shifted[:280, :360] = expected(made, 0)[20:, 40:]
    np.testing.assert_array_equal(levels[0][0], shifted)
    assert [channel["label"] for channel in told["omero"]["channels"]] == ["score a", 'score b & "c"']
    assert told["omero"]["channels"][1]["window"] == {"min": 0, "max": 11, "start": 0, "end": 11}
    assert attributes["mil_heatmaps"]["notices"] == ["one thing to know"]
    json.dumps(attributes, allow_nan=False)


def test_without_a_resolution_ome_zarr_has_no_unit(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    write_score_zarr(tmp_path / "s.ome.zarr", picture(mpp=None), chunk_size=512)
    (scale,) = dict(zarr.open_group(str(tmp_path / "s.ome.zarr"), mode="r").attrs)["multiscales"]
    assert all("unit" not in axis for axis in scale["axes"])
    assert scale["datasets"][0]["coordinateTransformations"][0]["scale"] == [1.0, 1.0, 1.0]


def test_an_older_ome_zarr_is_replaced_whole(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    for version in ("0.5", "0.4"):
        write_score_zarr(tmp_path / "s.ome.zarr", picture(), version=version)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["s.ome.zarr"]
    assert zarr.open_group(str(tmp_path / "s.ome.zarr"), mode="r").metadata.zarr_format == 2
    assert not list(tmp_path.rglob("zarr.json"))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_reader_of_ome_zarr_itself_opens_it(tmp_path: Path, version: Any) -> None:
    reader = pytest.importorskip("ome_zarr.reader", reason="ome-zarr is not installed")
    from ome_zarr.io import parse_url

    write_score_zarr(tmp_path / "s.ome.zarr", picture(), version=version, chunk_size=128)
    (node, *_) = list(reader.Reader(parse_url(str(tmp_path / "s.ome.zarr")))())
    np.testing.assert_array_equal(np.asarray(node.data[0])[0], expected(picture(), 0))


def test_colours_over_the_slide_become_ome_zarr_too(tiny_slide: Path, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    from mil_heatmaps.visualization.overlay import draw
    from mil_heatmaps.visualization.wsi_object import WholeSlideImage

    coords = grid_coords(4, 3, 128) + 256
    drawing = planned(np.arange(12), coords, WholeSlideImage(tiny_slide), vis_level=1, patch_size=128, segment=False)
    write_picture_zarr(tmp_path / "s.ome.zarr", drawing, chunk_size=128, notices=("said",))
    group = zarr.open_group(str(tmp_path / "s.ome.zarr"), mode="r")
    np.testing.assert_array_equal(np.moveaxis(group["0"][:], 0, -1), draw(drawing))
    (scale,) = dict(group.attrs)["multiscales"]
    assert scale["datasets"][0]["coordinateTransformations"][0]["scale"] == [1.0, 2.0, 2.0]
