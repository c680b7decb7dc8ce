"""Pyramids and DeepZoom, opened by other programs."""

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openslide
import pytest
import tifffile
from PIL import Image

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.export.deepzoom import write_deepzoom
from mil_heatmaps.export.pyramid import write_ome_tiff
from mil_heatmaps.export.reduce import halved, iter_pyramid, level_sizes
from mil_heatmaps.visualization.drawing import Drawing, colours_alone
from mil_heatmaps.visualization.overlay import draw
from mil_heatmaps.visualization.wsi_object import WholeSlideImage
from tests.helpers.drawings import planned


def _drawing(slide_path: Path, **options: Any) -> Drawing:
    coords = np.stack(np.meshgrid(np.arange(256, 1600, 128), np.arange(256, 1000, 128)), axis=-1).reshape(-1, 2)
    wsi = WholeSlideImage(slide_path)
    scores = np.random.default_rng(1).normal(size=len(coords))
    arguments = {"vis_level": 0, "patch_size": 128, "segment": False, **options}
    return planned(scores, coords, wsi, **arguments)


def _read(slide: openslide.OpenSlide, level: int) -> npt.NDArray[np.uint8]:
    return np.asarray(slide.read_region((0, 0), level, slide.level_dimensions[level]))[..., :3]


@pytest.mark.parametrize("source", ["tiny_slide", "tiny_svs"])
def test_overlay_over_a_tiled_slide_keeps_its_levels_and_its_untouched_tiles(
    request: pytest.FixtureRequest, tmp_path: Path, source: str
) -> None:
    drawing = _drawing(request.getfixturevalue(source))
    write_ome_tiff(tmp_path / "map.ome.tif", drawing, quality=95)
    with openslide.OpenSlide(tmp_path / "map.ome.tif") as made:
        assert made.level_dimensions == drawing.slide.level_dimensions
        assert float(made.properties["openslide.mpp-x"]) == pytest.approx(drawing.slide.mpp, rel=1e-4)
        for level in range(made.level_count):
            expected, pixels = draw(_drawing(drawing.slide.path, vis_level=level)), _read(made, level)
            assert np.abs(pixels.astype(int) - expected).mean() < 4
            if level == 0:  # the first column of tiles lies left of all patches
                np.testing.assert_array_equal(pixels[:, :240], drawing.slide.read_level(0)[:, :240])


def test_tifffile_reads_the_same_pyramid(tiny_slide: Path, tmp_path: Path) -> None:
    drawing = _drawing(tiny_slide)
    write_ome_tiff(tmp_path / "map.ome.tif", drawing)
    with tifffile.TiffFile(tmp_path / "map.ome.tif") as tiff, openslide.OpenSlide(tmp_path / "map.ome.tif") as slide:
        assert tiff.is_ome
        assert tiff.is_bigtiff
        assert len(tiff.series) == 1
        sizes = [level.shape[1::-1] for level in tiff.series[0].levels]
        assert sizes == list(slide.level_dimensions)
        for number, level in enumerate(tiff.series[0].levels):
            np.testing.assert_array_equal(level.asarray(), _read(slide, number))
        assert 'PhysicalSizeX="0.5"' in (tiff.ome_metadata or "")


@pytest.mark.parametrize("compression", ["jpeg", "deflate"])
@pytest.mark.parametrize("alone", [False, True])
def test_levels_that_are_made_are_means_of_the_finer_ones(
    single_level_slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: Any, alone: bool
) -> None:
    monkeypatch.setattr("mil_heatmaps.export.pyramid.COARSE_ENOUGH_PX", 100)
    drawing = _drawing(single_level_slide)
    drawing = colours_alone(drawing) if alone else drawing
    write_ome_tiff(tmp_path / "map.ome.tif", drawing, compression=compression, tile_size=128, quality=95)
    expected = draw(drawing)
    with openslide.OpenSlide(tmp_path / "map.ome.tif") as made:
        assert made.level_dimensions == ((1024, 768), (512, 384), (256, 192), (128, 96))
        for level in range(4):
            if compression == "deflate":
                np.testing.assert_array_equal(_read(made, level), expected)
            else:
                assert np.abs(_read(made, level).astype(int) - expected).mean() < 6
            expected = halved(expected)


def test_level_of_the_file_may_differ_from_that_of_the_drawing(tiny_slide: Path, tmp_path: Path) -> None:
    write_ome_tiff(tmp_path / "map.tif", _drawing(tiny_slide, vis_level=2), level=1)
    with openslide.OpenSlide(tmp_path / "map.tif") as made:
        assert made.dimensions == (512, 384)
        assert float(made.properties["openslide.mpp-x"]) == pytest.approx(2.0, rel=1e-4)


def test_region_becomes_a_pyramid_of_its_own(tiny_slide: Path, tmp_path: Path) -> None:
    drawing = _drawing(tiny_slide, top_left=(100, 200), bot_right=(1100, 900))
    write_ome_tiff(tmp_path / "map.tif", drawing, compression="deflate", tile_size=256)
    with openslide.OpenSlide(tmp_path / "map.tif") as made:
        np.testing.assert_array_equal(_read(made, 0), draw(drawing))


@pytest.mark.parametrize("suffix", [".ome.tif", ".szi"])
def test_bytes_do_not_depend_on_the_number_of_threads(tiny_slide: Path, tmp_path: Path, suffix: str) -> None:
    digests = set()
    for threads in (1, 3):
        path = tmp_path / f"map{suffix}"
        write = write_ome_tiff if suffix == ".ome.tif" else write_deepzoom
        write(path, _drawing(tiny_slide), threads=threads)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compression": "lzw"}, "unknown compression"),
        ({"tile_size": 100}, "multiple of 16"),
        ({"quality": 0}, "1 to 100"),
    ],
)
def test_impossible_pyramids_are_refused(
    tiny_slide: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        write_ome_tiff(tmp_path / "map.tif", _drawing(tiny_slide), **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (70, 33), (200, 257)])
def test_bands_of_the_pyramid_equal_halving_the_whole(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    sizes = level_sizes(size, 1)
    bands = (picture[y : y + 32] for y in range(0, size[1], 32))
    found: dict[int, list[npt.NDArray[np.uint8]]] = {}
    for level, y0, band in iter_pyramid(bands, size, 32, len(sizes)):
        assert y0 == sum(map(len, found.get(level, [])))
        found.setdefault(level, []).append(band)
    expected = picture
    for level, (width, height) in enumerate(sizes):
        joined = np.concatenate(found[level])
        assert joined.shape[:2] == (height, width)
        np.testing.assert_array_equal(joined, expected)
        expected = halved(expected)


def _tiles(drawing: Drawing, path: Path) -> dict[str, npt.NDArray[np.uint8]]:
    write_deepzoom(path, drawing, tile_format="png", tile_size=64)
    if path.suffix == ".szi":
        with zipfile.ZipFile(path) as archive:
            assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
            names = [name for name in archive.namelist() if name.endswith(".png")]
            return {name.split("_files/")[1]: np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in names}
    folder = path.with_name(f"{path.stem}_files")
    return {str(p.relative_to(folder)): np.asarray(Image.open(p)) for p in folder.rglob("*.png")}


@pytest.mark.parametrize("container", [".szi", ".dzi"])
def test_deepzoom_tiles_lie_where_a_viewer_expects_them(
    single_level_slide: Path, tmp_path: Path, container: str
) -> None:
    drawing = _drawing(single_level_slide, top_left=(0, 0), bot_right=(401, 300))
    tiles = _tiles(drawing, tmp_path / f"map{container}")
    picture = draw(drawing)
    sizes = level_sizes((401, 300), 1)
    for number, (width, height) in enumerate(sizes):
        level = len(sizes) - 1 - number
        for column in range(-(-width // 64)):
            for row in range(-(-height // 64)):
                x0, y0 = max(column * 64 - 1, 0), max(row * 64 - 1, 0)
                expected = picture[y0 : row * 64 + 65, x0 : column * 64 + 65]
                np.testing.assert_array_equal(tiles.pop(f"{level}/{column}_{row}.png"), expected)
        picture = halved(picture)
    assert not tiles


def test_deepzoom_folder_is_replaced_whole(single_level_slide: Path, tmp_path: Path) -> None:
    (tmp_path / "map_files" / "99").mkdir(parents=True)
    write_deepzoom(tmp_path / "map.dzi", _drawing(single_level_slide))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.dzi", "map_files"]
    assert not (tmp_path / "map_files" / "99").exists()
    text = (tmp_path / "map.dzi").read_text()
    assert 'TileSize="254"' in text
    assert '<Size Width="1024" Height="768"/>' in text
    assert 'Overlap="1"' in text


@pytest.mark.parametrize("name", ["map.ome.tif", "map.szi", "map.dzi"])
def test_disk_full_halfway_leaves_the_old_export(
    tiny_slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    target = tmp_path / name
    target.write_bytes(b"old")
    written = []

    def full(*_: object, **__: object) -> None:
        written.append(1)
        if len(written) > 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("mil_heatmaps.export.pyramid.PyramidWriter.write_tile", full)
    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    original = Path.write_bytes

    def full_folder(path: Path, data: bytes) -> int:
        full()
        return original(path, data)

    monkeypatch.setattr(Path, "write_bytes", full_folder)
    write = write_ome_tiff if name.endswith("tif") else write_deepzoom
    with pytest.raises(OSError, match="No space left"):
        write(target, _drawing(tiny_slide))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert target.read_bytes() == b"old"
