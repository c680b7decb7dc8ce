"""Where the window of a film is, in numbers."""

import numpy as np
import pytest

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.film.camera import (
    Stop,
    Window,
    between,
    fade,
    highest_places,
    overview,
    serpentine,
    sweep,
    tour,
)
from mil_heatmaps.film.settings import FilmSettings


def test_the_overview_shows_the_whole_part_in_its_middle() -> None:
    window = overview((100, 200), (4000, 1000), (400, 200))
    assert (window.x_l0, window.y_l0) == (2100, 700)
    assert 400 * window.downsample * 0.96 == pytest.approx(4000)


def test_a_serpentine_goes_to_and_fro_within_the_patches() -> None:
    x, y = np.meshgrid(np.arange(50, 1000, 100), np.arange(50, 400, 100))
    path = serpentine(np.stack([x.ravel(), y.ravel()], 1).astype(float), (100, 100), (200, 200))
    assert path.tolist() == [[100, 100], [900, 100], [900, 300], [100, 300]]


def test_a_row_narrower_than_the_window_is_seen_from_its_middle_and_an_empty_one_not_at_all() -> None:
    path = serpentine(np.array([[50.0, 50.0], [50.0, 950.0]]), (100, 100), (300, 300))
    assert path.tolist() == [[50, 125], [50, 875]]


def test_a_sweep_moves_evenly_from_end_to_end() -> None:
    flight = sweep(np.array([[0.0, 0.0], [30.0, 0.0], [30.0, 10.0]]), 2.0, 5, 0.4)
    assert [(w.x_l0, w.y_l0) for w in flight.windows] == [(0, 0), (10, 0), (20, 0), (30, 0), (30, 10)]


def test_a_tour_stays_at_its_stops_and_begins_and_ends_with_the_overview() -> None:
    start, stop = Window(500, 500, 10), Stop(Window(200, 300, 1), "1 of 1")
    flight = tour(start, [stop], 91, 100, 0.4)  # 1 + 3 + 2 + 3 + 1 parts of 9 frames
    assert flight.windows[0] == flight.windows[-1] == start
    assert [flight.windows[i] for i in (36, 45, 53)] == [stop.window] * 3
    assert flight.words[45] == "1 of 1"
    assert flight.words[0] == flight.words[-1] == ""
    assert start.downsample > flight.windows[22].downsample > 1


def test_a_move_begins_and_ends_where_it_should_and_zooms_out_on_a_long_way() -> None:
    a, b = Window(0, 0, 1), Window(10_000, 5_000, 2)
    first, middle, last = (between(a, b, share, 100) for share in (0.0, 0.5, 1.0))
    assert [first.x_l0, first.downsample] == pytest.approx([0, 1], abs=1e-6)
    assert [last.x_l0, last.y_l0, last.downsample] == pytest.approx([10_000, 5_000, 2])
    assert middle.downsample > 10


def test_a_fade_is_the_slide_alone_at_either_end_and_the_map_in_the_middle() -> None:
    assert fade(Window(0, 0, 1), 5, 0.4).blends == pytest.approx([0, 0.2, 0.4, 0.2, 0])


def test_the_highest_places_lie_a_window_apart() -> None:
    centres = np.array([[0.0, 0], [10, 0], [200, 0], [400, 0]])
    assert highest_places(centres, np.array([5.0, 9, 7, np.nan]), 3, (100, 100)) == [1, 2]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seconds": 0.01}, "less than two frames"),
        ({"size_px": (321, 180)}, "322 x 180 would do"),
        ({"format": "gif", "seconds": 600}, "too many for a loop"),
    ],
)
def test_a_film_that_cannot_be_made_says_what_would_do(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        FilmSettings(**changes)  # type: ignore[arg-type]
