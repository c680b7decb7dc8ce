"""Where coordinates count from: the slide's corner, or that of its scanned area."""

from dataclasses import replace

import numpy as np
import pytest

from mil_heatmaps.slides.frames import place_box, place_grid, place_mask, says_scanned_size
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.roi import roi_from_box, roi_from_polygons
from mil_heatmaps.slides.slide_space import SlideSpace, scanned_area
from mil_heatmaps.slides.tissue import TissueMask

SPACE = SlideSpace((4096, 3072), (512, 256, 1024, 768))


def grid(*corners: tuple[int, int], size: int = 256) -> PatchGrid:
    return PatchGrid(np.array(corners, np.int64).reshape(-1, 2), (size, size), (size, size))


def mask(*boxes: tuple[int, int, int, int]) -> TissueMask:
    """Boxes (x1, y1, x2, y2), each with its lower left half as a hole."""
    contours = [np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.int32)[:, None] for x1, y1, x2, y2 in boxes]
    holes = [(np.array([[x1, y1], [x2, y2], [x1, y2]], np.int32)[:, None],) for x1, y1, x2, y2 in boxes]
    return TissueMask(tuple(contours), tuple(holes))


def shift(space: SlideSpace, placed: PatchGrid, said: tuple[int, int] | None = None) -> list[int]:
    moved, notes = place_grid(placed, space, said)
    difference = np.unique(moved.coords_l0 - placed.coords_l0, axis=0)
    assert len(difference) == 1
    assert [note.code for note in notes] == (["frame"] if difference.any() else [])
    return difference[0].tolist()


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ([(0, 0), (512, 512)], [512, 256]),  # the first lies on no scanned pixel
        ([(512, 256), (1280, 768)], [0, 0]),
        ([(257, 1), (1280, 768)], [0, 0]),  # reaches into the scanned area by a pixel
        ([(256, 0), (768, 512)], [512, 256]),  # and here by none
        ([(-255, -255), (1023, 767)], [512, 256]),  # sticks out of the area by less than its size
        ([(-256, 0), (768, 512)], [0, 0]),  # by its size: not the area's frame either
        ([(0, 0), (1024, 512)], [0, 0]),
        ([(0, 0), (2000, 2000)], [0, 0]),  # fits neither
    ],
)
def test_a_file_that_says_no_size_shows_its_frame_by_where_its_patches_lie(
    corners: list[tuple[int, int]], expected: list[int]
) -> None:
    assert shift(SPACE, grid(*corners)) == expected


def test_the_size_that_a_file_states_decides_before_its_patches() -> None:
    inside_both, of_bounds = grid((600, 300)), grid((0, 0))
    assert shift(SPACE, inside_both, (1024, 768)) == [512, 256]
    assert shift(SPACE, inside_both, (1023, 769)) == [512, 256]
    assert shift(SPACE, inside_both, (1022, 768)) == [0, 0]
    assert shift(SPACE, of_bounds, (4096, 3072)) == [0, 0]


def test_the_key_decides_before_everything() -> None:
    assert shift(replace(SPACE, frame="slide"), grid((0, 0)), (1024, 768)) == [0, 0]
    assert shift(replace(SPACE, frame="bounds"), grid((600, 300)), (4096, 3072)) == [512, 256]


def test_a_slide_without_a_scanned_area_has_one_frame() -> None:
    assert shift(SlideSpace((4096, 3072), frame="bounds"), grid((0, 0))) == [0, 0]


def test_no_patches_lie_in_the_slides_frame() -> None:
    placed, notes = place_grid(grid(), SPACE)
    assert (len(placed), notes) == (0, [])


def test_the_note_names_the_bounds_and_their_corner() -> None:
    (note,) = place_grid(grid((0, 0)), SPACE)[1]
    assert note == "coordinates count from the corner of the scanned area (bounds) at (512, 256): moved by as much"
    assert dict(note.counts) == {"x": 512, "y": 256}


def test_outlines_move_together_with_their_holes_or_not_at_all() -> None:
    moved, notes = place_mask(mask((0, 0, 512, 512), (600, 300, 900, 600)), SPACE)
    expected = mask((512, 256, 1024, 768), (1112, 556, 1412, 856))
    for found, wanted in zip(moved.contours_l0, expected.contours_l0, strict=True):
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(moved.holes_l0[0][0], expected.holes_l0[0][0])
    assert "bounds" in notes[0]
    stays = mask((500, 250, 900, 600))
    assert place_mask(stays, SPACE) == (stays, [])


def test_an_outline_that_ends_where_the_scanned_area_begins_touches_no_pixel_of_it() -> None:
    assert place_mask(mask((0, 0, 512, 512)), SPACE)[1]
    assert not place_mask(mask((0, 0, 513, 512)), SPACE)[1]


def test_an_outline_may_exceed_the_scanned_area_by_a_rounded_pixel() -> None:
    assert place_mask(mask((0, 0, 1025, 769), (0, 0, 100, 100)), SPACE)[1]
    assert not place_mask(mask((0, 0, 1027, 768), (0, 0, 100, 100)), SPACE)[1]


def test_regions_are_judged_like_outlines() -> None:
    assert place_box((100, 50, 300, 200), SPACE)[0] == (612, 306, 812, 456)
    assert place_box((600, 300, 700, 400), SPACE) == ((600, 300, 700, 400), [])
    box = roi_from_box((300, 200, 100, 50), SPACE)
    assert (box.top_left_l0, box.bot_right_l0) == ((612, 306), (812, 456))
    assert box.notes[0].startswith("the region of interest counts from the corner of the scanned area (bounds)")
    drawn = roi_from_polygons(mask((100, 50, 300, 200)), SPACE)
    assert (drawn.top_left_l0, drawn.bot_right_l0) == ((612, 306), (812, 456))
    assert roi_from_box((100, 50, 300, 200), (4096, 3072)).top_left_l0 == (100, 50)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (("512", "256", "1024", "768"), (512, 256, 1024, 768)),
        (("0", "7", "1024", "768"), (0, 7, 1024, 768)),
        (("0", "0", "1024", "768"), (0, 0, 1024, 768)),
        (("0", "0", "4096", "3072"), None),
        (("512", "256", "0", "768"), None),
        (("512", "x", "1024", "768"), None),
        ((), None),
    ],
)
def test_the_scanned_area_is_what_openslide_says(bounds: tuple[str, ...], expected: object) -> None:
    keys = [f"openslide.bounds-{side}" for side in ("x", "y", "width", "height")]
    assert scanned_area(dict(zip(keys, bounds, strict=False)), (4096, 3072)) == expected


def test_a_slide_of_nearly_the_scanned_areas_size_is_told_from_it() -> None:
    space = SlideSpace((1025, 768), (1, 0, 1024, 768))
    assert says_scanned_size((1024, 768), space)
    assert not says_scanned_size((1025, 768), space)
