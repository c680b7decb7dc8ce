"""Films, decoded: frames, size, codec, and what the first, the last and some between them show."""

import builtins
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mil_heatmaps.errors import MissingDependencyError, SlideError
from mil_heatmaps.film.camera import Window
from mil_heatmaps.film.captions import Captions
from mil_heatmaps.film.encode import check_installed, write_film
from mil_heatmaps.film.film import FilmedMap, film_frames, make_film, plan_flight
from mil_heatmaps.film.pictures import WindowPictures
from mil_heatmaps.film.settings import FilmSettings
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.reader import open_slide
from mil_heatmaps.visualization.colour_rule import ColourRule
from mil_heatmaps.visualization.figure_ground import draw_panels
from mil_heatmaps.visualization.heatmap_utils import plan_heatmap
from mil_heatmaps.visualization.tissue_slide import TissueSlide
from mil_heatmaps.visualization.view import View
from tests.helpers.slides import make_svs_like
from tests.helpers.waiting import LONG_S

SIZE, PATCH = (1024, 768), 128
av: Any = pytest.importorskip("av")


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> FilmedMap:
    """A small slide with patches all over it, the highest at (768, 512)."""
    path = tmp_path_factory.mktemp("film") / "s.svs"
    make_svs_like(path, SIZE, downsamples=(1, 4))
    x, y = np.meshgrid(np.arange(0, SIZE[0], PATCH), np.arange(0, SIZE[1], PATCH))
    grid = PatchGrid(np.stack([x.ravel(), y.ravel()], 1).astype(np.int64), (PATCH, PATCH), (PATCH, PATCH))
    scores = (1000 - np.hypot(*(grid.coords_l0 - [768, 512]).T)).astype(np.float32)
    slide = TissueSlide(open_slide(path))
    drawing = plan_heatmap(scores, grid, slide, View(segment=False), ColourRule.for_kind("attention_logit"))
    return FilmedMap(drawing, scores, "attention, logits", "attention")


def decoded(path: Path) -> tuple[list[np.ndarray], Any]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        facts = (stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate, stream.codec_context.size
                 if hasattr(stream.codec_context, "size") else (stream.width, stream.height))  # fmt: skip
        frames = [frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray() for frame in
                  container.decode(stream)]  # fmt: skip
    return frames, facts


def close(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether pictures agree but for what encoding loses."""
    return float(np.abs(one.astype(int) - other.astype(int)).mean()) < 3


@pytest.mark.parametrize("mode", ["sweep", "tour", "fade"])
def test_a_film_has_its_frames_and_shows_the_windows_of_its_flight(
    tmp_path: Path, filmed: FilmedMap, mode: Any
) -> None:
    settings = FilmSettings(mode=mode, size_px=(320, 180), fps=10, seconds=2, regions=1, magnification=40)
    flight = plan_flight(filmed, settings)
    told: list[tuple[int, int]] = []
    make_film(tmp_path / "f.mp4", filmed, settings, tell=lambda done, total: told.append((done, total)))
    frames, (codec, pixels, rate, _) = decoded(tmp_path / "f.mp4")
    assert (codec, pixels, rate) == ("h264", "yuv420p", 10)
    assert len(frames) == settings.frames == len(flight) == len(told) == 20
    assert {frame.shape for frame in frames} == {(180, 320, 3)}
    wanted = list(film_frames(filmed, settings, flight))
    assert all(close(frames[i], wanted[i]) for i in (0, 7, 10, 19))
    if mode != "fade":
        assert not close(frames[0], frames[10])


def test_a_tour_stays_over_the_highest_patch(filmed: FilmedMap) -> None:
    settings = FilmSettings(mode="tour", fps=10, seconds=2, regions=1, magnification=40, size_px=(320, 180))
    flight = plan_flight(filmed, settings)
    middle = flight.windows[10]
    assert (middle.x_l0, middle.y_l0) == (768 + 64, 512 + 64)
    assert filmed.drawing.slide.mpp is not None
    assert middle.downsample * filmed.drawing.slide.mpp == pytest.approx(0.25)
    assert flight.words[10].startswith("1 of 1: attention 1000, percentile 100 of 48 patches")


def test_a_window_shows_the_pixels_of_slide_and_map(filmed: FilmedMap) -> None:
    slide = filmed.drawing.slide
    whole = slide.read_region((0, 0), 0, SIZE)
    with WindowPictures(filmed.drawing, 0.0) as alone, WindowPictures(filmed.drawing, 0.4) as mapped:
        window = Window(512, 384, 1.0)
        assert np.array_equal(alone.picture(window, (200, 100)), whole[334:434, 412:612])
        shown = mapped.picture(window, (200, 100))
        beyond = alone.picture(Window(0, 0, 1.0), (100, 100))
    assert (beyond[:49, :49] == 255).all()
    index = int(np.flatnonzero((filmed.drawing.grid.coords_l0 == [512, 384]).all(axis=1))[0])
    colour = filmed.drawing.colours[round(float(filmed.drawing.shades[index]) * 255)]
    expected = 0.4 * colour + 0.6 * whole[390, 520]
    assert np.abs(shown[56, 108] - expected).max() <= 4


@pytest.mark.parametrize("blend", [0.4, 1.0])
def test_the_colour_bar_is_mixed_as_the_colours_of_its_frame(filmed: FilmedMap, blend: float) -> None:
    written = Captions(filmed.drawing, "attention", (640, 360), colour_bar=True, captions=False)
    frame = written.write(np.zeros((360, 640, 3), np.uint8), Window(0, 0, 1.0), "", blend)
    ground = np.array(draw_panels(filmed.drawing, 256).ground)
    for shade in (0, -1):
        expected = np.rint(blend * filmed.drawing.colours[shade] + (1 - blend) * ground)
        assert (np.abs(frame.astype(int) - expected).max(axis=2) <= 1).any()
    untouched = written.write(np.zeros((360, 640, 3), np.uint8), Window(0, 0, 1.0), "", 0.0)
    assert not untouched.any()


def test_a_sharper_level_is_averaged_for_a_coarse_window(filmed: FilmedMap) -> None:
    whole = filmed.drawing.slide.read_region((0, 0), 0, SIZE).astype(float)
    with WindowPictures(filmed.drawing, 0.0) as alone:
        shown = alone.picture(Window(512, 384, 2.0), (512, 384)).astype(float)
    mean = whole.reshape(384, 2, 512, 2, 3).mean(axis=(1, 3))
    assert np.abs(shown[2:-2, 2:-2] - mean[2:-2, 2:-2]).max() <= 1


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_a_loop_plays_without_end(tmp_path: Path, filmed: FilmedMap, kind: Any) -> None:
    settings = FilmSettings(mode="sweep", format=kind, size_px=(160, 90), fps=10, seconds=1, magnification=40)
    make_film(tmp_path / f"f.{kind}", filmed, settings)
    with Image.open(tmp_path / f"f.{kind}") as picture:
        assert picture.size == (160, 90)
        assert picture.info["loop"] == 0
        assert 2 <= picture.n_frames <= 10


def test_a_window_larger_than_the_slide_is_refused_with_what_would_do(filmed: FilmedMap) -> None:
    with pytest.raises(SlideError, match=r"larger than the slide: give video_arguments.magnification of at least"):
        plan_flight(filmed, FilmSettings(mode="sweep", magnification=1.0))


def test_without_pyav_the_line_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "av":
            raise ModuleNotFoundError("No module named 'av'", name="av")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=r"pip install -e '\.\[video\]'"):
        check_installed(FilmSettings())
    check_installed(FilmSettings(format="gif", seconds=1, size_px=(320, 180)))


def test_a_film_that_ends_halfway_leaves_nothing(tmp_path: Path) -> None:
    def frames() -> Any:
        yield np.zeros((180, 320, 3), np.uint8)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_film(tmp_path / "f.mp4", frames(), FilmSettings(size_px=(320, 180)))
    assert list(tmp_path.iterdir()) == []


def test_the_section_is_read_without_pyav() -> None:
    code = "import sys, mil_heatmaps.config.config; assert 'av' not in sys.modules and 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=LONG_S).returncode == 0
