"""Pictures written in bands: read alike by other programs, whatever the threads, whole or not at all."""

import io
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.visualization.drawing import Drawing, Painter
from mil_heatmaps.visualization.overlay import band_rows, draw, draw_to_file, draw_to_files
from mil_heatmaps.visualization.picture_files import check_size, open_picture_file, save_picture
from mil_heatmaps.visualization.png_stream import combine_adler32
from mil_heatmaps.visualization.wsi_object import WholeSlideImage
from tests.helpers.drawings import planned


def _picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Smooth colour, with noise in a part, so that every PNG filter and JPEG block has work."""
    generator = np.random.default_rng(seed)
    small = generator.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    picture = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))
    picture[: height // 3] ^= generator.integers(0, 30, (height // 3, width, 3), dtype=np.uint8)
    return picture


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 33), (200, 131), (333, 250)])
@pytest.mark.parametrize("rows", [16, 48, 512])
def test_png_reads_back_exactly_in_two_other_programs(tmp_path: Path, size: tuple[int, int], rows: int) -> None:
    picture = _picture(*size)
    with open_picture_file(tmp_path / "p.png", (size[1], size[0]), rows) as file:
        for y in range(0, size[0], rows):
            file.write(file.encode(picture[y : y + rows]))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "p.png")), picture)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "p.png"))[..., ::-1], picture)


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 33), (200, 131), (333, 250)])
@pytest.mark.parametrize("rows", [16, 48, 512])
def test_jpeg_decodes_as_if_pil_had_written_it_whole(tmp_path: Path, size: tuple[int, int], rows: int) -> None:
    picture = _picture(*size)
    with open_picture_file(tmp_path / "p.jpg", (size[1], size[0]), rows) as file:
        for y in range(0, size[0], rows):
            file.write(file.encode(picture[y : y + rows]))
    whole = io.BytesIO()
    Image.fromarray(picture).save(whole, "JPEG", quality=100)
    expected = np.asarray(Image.open(whole))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "p.jpg")), expected)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "p.jpg"))[..., ::-1], expected)


def test_checksums_join() -> None:
    import zlib

    first, second = bytes(range(256)) * 300, b"\xff" * 70_001
    joined = combine_adler32(zlib.adler32(first), zlib.adler32(second), len(second))
    assert joined == zlib.adler32(first + second)


@pytest.mark.parametrize(("suffix", "exact"), [(".webp", False), (".tif", True), (".bmp", True)])
def test_other_formats_are_written_too(tmp_path: Path, suffix: str, exact: bool) -> None:
    picture = _picture(70, 90)
    save_picture(tmp_path / f"p{suffix}", picture)
    read = np.asarray(Image.open(tmp_path / f"p{suffix}").convert("RGB"))
    assert read.shape == picture.shape
    assert not exact or np.array_equal(read, picture)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("big.jpg", (65_501, 10), "65500.*choose png"),
        ("big.jpeg", (10, 70_000), "65500.*choose png"),
        ("big.webp", (16_384, 10), "16383.*choose png"),
        ("big.tif", (60_000, 50_000), "memory.*choose png"),
        ("map.gif", (10, 10), "unknown picture format '.gif'; choose from .png"),
    ],
)
def test_pictures_a_format_cannot_hold_are_refused_before_the_work(
    name: str, size: tuple[int, int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_size(Path(name), size)


def test_widest_jpeg_can_still_be_joined(tmp_path: Path) -> None:
    picture = np.zeros((40, 65_500, 3), np.uint8)
    picture[:, ::100] = 255
    with open_picture_file(tmp_path / "wide.jpg", (65_500, 40), 16) as file:
        for y in range(0, 40, 16):
            file.write(file.encode(picture[y : y + 16]))
    read = np.asarray(Image.open(tmp_path / "wide.jpg"))
    assert read.shape == picture.shape
    assert np.abs(read.astype(int) - picture).mean() < 3


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_no_file_is_left_when_writing_stops_halfway(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"map{suffix}"
    target.write_bytes(b"the old picture")

    def half() -> None:
        with open_picture_file(target, (64, 64), 32) as file:
            file.write(file.encode(_picture(32, 64)))
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        half()
    assert [p.name for p in tmp_path.iterdir()] == [target.name]
    assert target.read_bytes() == b"the old picture"


def _drawing(slide_path: Path, **options: object) -> Drawing:
    generator = np.random.default_rng(5)
    coords = np.stack(np.meshgrid(np.arange(0, 2048, 64), np.arange(0, 1536, 64)), axis=-1).reshape(-1, 2)
    wsi = WholeSlideImage(slide_path)
    wsi.segment_tissue(filter_params={"a_t": 0.1, "a_h": 0.01})
    arguments = {"vis_level": 0, "patch_size": 128, "overlap": 0.5, "segment": False, **options}
    return planned(generator.normal(size=len(coords)), coords, wsi, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("smooth", ["none", "bilinear", "gaussian"])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_bytes_do_not_depend_on_the_number_of_threads(
    tiny_slide: Path, tmp_path: Path, suffix: str, smooth: str
) -> None:
    drawing = _drawing(tiny_slide, smooth=smooth)
    for threads in (1, 2, 5):
        draw_to_file(tmp_path / f"{threads}{suffix}", drawing, threads=threads)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize("smooth", ["none", "bilinear", "gaussian"])
@pytest.mark.parametrize("source", ["tiny_slide", "tiny_svs"])
def test_picture_does_not_depend_on_the_bands(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, source: str, smooth: str
) -> None:
    drawing = _drawing(request.getfixturevalue(source), smooth=smooth, segment=True)
    whole = draw(drawing)
    for rows in (16, 272, 4096):
        monkeypatch.setattr("mil_heatmaps.visualization.overlay.band_rows", lambda _, rows=rows: rows)
        np.testing.assert_array_equal(draw(drawing), whole)


@pytest.mark.parametrize("width", [10, 3750, 15_000, 60_000, 65_500, 200_000])
def test_bands_are_joinable_and_small(tiny_slide: Path, width: int) -> None:
    from dataclasses import replace

    drawing = _drawing(tiny_slide)
    wide = replace(drawing, frame=replace(drawing.frame, size_px=(width, 5000)))
    rows = band_rows(wide)
    assert rows % 16 == 0
    assert -(-width // 16) * (rows // 16) <= 65535
    assert rows * width * 3 <= 12 << 20 or rows <= 256


def test_jpeg_file_of_a_drawing_equals_saving_its_picture(tiny_slide: Path, tmp_path: Path) -> None:
    drawing = _drawing(tiny_slide, segment=True)
    draw_to_file(tmp_path / "map.jpg", drawing)
    saved = io.BytesIO()
    Image.fromarray(draw(drawing)).save(saved, "JPEG", quality=100)
    expected = np.asarray(Image.open(saved))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "map.jpg")), expected)


def test_quality_may_be_chosen(tiny_slide: Path, tmp_path: Path) -> None:
    drawing = _drawing(tiny_slide, vis_level=1)
    for suffix in (".jpg", ".webp"):
        sizes = []
        for quality in (20, 90):
            draw_to_file(tmp_path / f"q{quality}{suffix}", drawing, quality=quality)
            sizes.append((tmp_path / f"q{quality}{suffix}").stat().st_size)
        assert sizes[0] < sizes[1] / 2
    draw_to_file(tmp_path / "exact.webp", drawing, lossless=True)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "exact.webp").convert("RGB")), draw(drawing))
    with pytest.raises(ConfigError, match="quality must be 1 to 100"):
        draw_to_file(tmp_path / "bad.jpg", drawing, quality=101)


def test_one_drawing_in_two_formats_is_painted_once(
    tiny_slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing = _drawing(tiny_slide, segment=True)
    for suffix in (".png", ".jpg"):
        draw_to_file(tmp_path / f"alone{suffix}", drawing)
    painted: list[int] = []
    paint = Painter.paint
    monkeypatch.setattr(Painter, "paint", lambda self, pixels, y0: painted.append(y0) or paint(self, pixels, y0))
    draw_to_files([tmp_path / "both.png", tmp_path / "both.jpg"], drawing)
    assert len(painted) == len(set(painted)) > 0
    for suffix in (".png", ".jpg"):
        assert (tmp_path / f"both{suffix}").read_bytes() == (tmp_path / f"alone{suffix}").read_bytes()


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ({}, True), ({"thresh": 0.9}, True), ({"alpha": 0.5}, False), ({"vis_level": 1}, False),
        ({"binarize": True}, False), ({"blank_canvas": True}, False), ({"segment": False}, False),
        ({"threshold": 0.5}, False), ({"use_holes": False}, False),
    ],
)  # fmt: skip
def test_drawings_are_alike_when_their_pixels_are(tiny_slide: Path, options: dict[str, object], same: bool) -> None:
    with WholeSlideImage(tiny_slide) as wsi:
        wsi.segment_tissue(filter_params={"a_t": 0.1, "a_h": 0.01})
        coords = np.array([[0, 0], [512, 512], [640, 512]])
        usual: dict[str, object] = {"vis_level": 0, "patch_size": 128, "segment": True}
        one = planned([1.0, 2.0, 3.0], coords, wsi, **usual)  # type: ignore[arg-type]
        other = planned([1.0, 2.0, 3.0], coords.copy(), wsi, **{**usual, **options})  # type: ignore[arg-type]
        assert one.same_pixels(other) is same
        moved = planned([1.0, 2.0, 3.0], coords + 1, wsi, **usual)  # type: ignore[arg-type]
        assert not one.same_pixels(moved)
