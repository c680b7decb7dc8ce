"""Where the window of a film is in every frame, in level-0 pixels; this module reads no pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_RHO = math.sqrt(2)
"""How much a move zooms out on its way; van Wijk and Nuij (2003) found that people prefer 1.42."""
_HOLD, _MOVE, _ENDS = 2.0, 3.0, 1.0
"""Relative durations of a stop of a tour, a move between two stops, and the overview at either end."""
_SLIDE_SEEN = 0.04
"""Share of the overview's sides that stays free around the slide."""


@dataclass(frozen=True)
class Window:
    """The part of the slide that a frame shows.

    Attributes
    ----------
    x_l0, y_l0 : float
        Centre of the window.
    downsample : float
        Level-0 pixels per pixel of the frame.
    """

    x_l0: float
    y_l0: float
    downsample: float


@dataclass(frozen=True)
class Flight:
    """The camera's flight, with one entry per frame.

    Attributes
    ----------
    windows : Window
    words : str
        Words of the caption; empty for no caption.
    blends : float
        Weight of the colours, 0 to 1.
    """

    windows: Sequence[Window]
    words: Sequence[str]
    blends: Sequence[float]

    def __len__(self) -> int:
        return len(self.windows)


@dataclass(frozen=True)
class Stop:
    """A place where a tour stops, and its caption."""

    window: Window
    words: str


def overview(corner_l0: tuple[float, float], extent_l0: tuple[float, float], size_px: tuple[int, int]) -> Window:
    """Return the window that shows a whole part of the slide, with a little room around it."""
    downsample = max(extent / size for extent, size in zip(extent_l0, size_px, strict=True)) / (1 - _SLIDE_SEEN)
    return Window(corner_l0[0] + extent_l0[0] / 2, corner_l0[1] + extent_l0[1] / 2, downsample)


def fade(window: Window, frames: int, blend: float) -> Flight:
    """Return a flight with a fixed window that fades from the slide alone to the map, halfway, and back."""
    times = np.linspace(0, 1, frames)
    blends = (0.5 - 0.5 * np.cos(2 * np.pi * times)) * blend
    return Flight([window] * frames, [""] * frames, [float(b) for b in blends])


def serpentine(
    centres_l0: npt.NDArray[np.float64], patch_l0: tuple[int, int], extent_l0: tuple[float, float]
) -> npt.NDArray[np.float64]:
    """Return the corners of a path over patches, (M, 2): rows of windows, alternately to the right and to the left.

    Parameters
    ----------
    centres_l0 : (N, 2)
        Centres of the patches; N is at least 1.
    patch_l0 : (width, height)
    extent_l0 : (width, height)
        Size of the window. Rows are at most one window apart; a row extends from its first patch to its last.
    """
    width, height = extent_l0
    half = np.asarray(patch_l0) / 2
    top, bottom = centres_l0[:, 1].min() - half[1], centres_l0[:, 1].max() + half[1]
    rows = max(1, math.ceil((bottom - top) / height - 1e-9))
    step = (bottom - top) / rows
    points: list[tuple[float, float]] = []
    for row in range(rows):
        inside = (centres_l0[:, 1] >= top + row * step) & (centres_l0[:, 1] <= top + (row + 1) * step)
        if not inside.any():
            continue
        x = centres_l0[inside, 0]
        left, right = float(x.min() - half[0] + width / 2), float(x.max() + half[0] - width / 2)
        if left > right:
            left = right = (left + right) / 2
        y = float(top + (row + 0.5) * step)
        ends = [(left, y), (right, y)] if left < right else [(left, y)]
        # Begin with the nearer end, so that the rows of a piece of tissue alternate in direction.
        if points and abs(ends[-1][0] - points[-1][0]) < abs(ends[0][0] - points[-1][0]):
            ends.reverse()
        points += ends
    return np.array(points, np.float64)


def sweep(path_l0: npt.NDArray[np.float64], downsample: float, frames: int, blend: float) -> Flight:
    """Return a flight along a path at constant speed."""
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path_l0, axis=0).T))])
    at = np.linspace(0, lengths[-1], frames)
    x, y = (np.interp(at, lengths, path_l0[:, axis]) for axis in (0, 1))
    windows = [Window(float(a), float(b), downsample) for a, b in zip(x, y, strict=True)]
    return Flight(windows, [""] * frames, [blend] * frames)


def highest_places(
    centres_l0: npt.NDArray[np.float64], values: npt.NDArray[np.floating], most: int, apart_l0: tuple[float, float]
) -> list[int]:
    """Return the indices of at most `most` patches, the highest first; none lies within a window of another."""
    chosen: list[int] = []
    free = np.isfinite(values)
    ranked = np.argsort(-np.where(free, values, -np.inf), kind="stable")
    for index in ranked:
        if len(chosen) == most or not free.any():
            break
        if free[index]:
            chosen.append(int(index))
            near = np.abs(centres_l0 - centres_l0[index]) < np.asarray(apart_l0)
            free &= ~near.all(axis=1)
    return chosen


def tour(start: Window, stops: Sequence[Stop], frames: int, width_px: int, blend: float) -> Flight:
    """Return a flight from the overview `start` to each stop and back to the overview.

    It stays a while at each stop. Moves follow van Wijk and Nuij ("Smooth and efficient zooming and panning", 2003),
    and are slow at both ends.
    """
    places = [Stop(start, ""), *stops, Stop(start, "")]
    lasting = [_ENDS, *[length for _ in stops for length in (_MOVE, _HOLD)], *((_MOVE, _ENDS) if stops else ())]
    begins = np.concatenate([[0.0], np.cumsum(lasting)])
    windows, words = [], []
    for time in np.linspace(0, begins[-1], frames):
        part = min(int(np.searchsorted(begins, time, side="right")) - 1, len(lasting) - 1)
        place, moving = divmod(part, 2)
        if not moving:
            windows.append(places[place].window)
            words.append(places[place].words)
            continue
        share = _eased(float((time - begins[part]) / lasting[part]))
        windows.append(between(places[place].window, places[place + 1].window, share, width_px))
        words.append(places[place + 1].words if share >= 0.5 else places[place].words)
    return Flight(windows, words, [blend] * frames)


def _eased(share: float) -> float:
    """Return a share of the way that starts and ends smoothly: 6t⁵ - 15t⁴ + 10t³."""
    return share**3 * (share * (6 * share - 15) + 10)


def between(a: Window, b: Window, share: float, width_px: int) -> Window:
    """Return the window at a share of the way from `a` to `b`, on the path of van Wijk and Nuij."""
    w0, w1 = a.downsample * width_px, b.downsample * width_px
    dx, dy = b.x_l0 - a.x_l0, b.y_l0 - a.y_l0
    way = math.hypot(dx, dy)
    if way < 1e-6 * w0:
        return Window(a.x_l0 + share * dx, a.y_l0 + share * dy, a.downsample * (w1 / w0) ** share)
    r0, r1 = (
        math.asinh(-(w1**2 - w0**2 + sign * _RHO**4 * way**2) / (2 * w * _RHO**2 * way))
        for sign, w in ((1, w0), (-1, w1))
    )
    at = r0 + share * (r1 - r0)
    done = w0 / _RHO**2 * (math.cosh(r0) * math.tanh(at) - math.sinh(r0)) / way
    width = w0 * math.cosh(r0) / math.cosh(at)
    return Window(a.x_l0 + done * dx, a.y_l0 + done * dy, width / width_px)
