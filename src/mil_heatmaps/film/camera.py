"""Where the window of a film is in every frame, in level-0 pixels; numbers alone, no pixel is read here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_RHO = math.sqrt(2)
"""How much a move zooms out on its way; van Wijk and Nuij (2003) found people to like 1.42."""
_HOLD, _MOVE, _ENDS = 2.0, 3.0, 1.0
"""How long a stop of a tour, a move between two, and the overview at either end last, beside each other."""
_SLIDE_SEEN = 0.04
"""Share of the overview's sides that is left around the slide."""


@dataclass(frozen=True)
class Window:
    """The part of the slide that a frame shows.

    Attributes
    ----------
    x_l0, y_l0 : float
        Its centre.
    downsample : float
        Level-0 pixels a pixel of the frame.
    """

    x_l0: float
    y_l0: float
    downsample: float


@dataclass(frozen=True)
class Flight:
    """One entry a frame.

    Attributes
    ----------
    windows : Window
    words : str
        What a caption says; empty where there is nothing to say.
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
    """A place at which a tour stays, and what is said there."""

    window: Window
    words: str


def overview(corner_l0: tuple[float, float], extent_l0: tuple[float, float], size_px: tuple[int, int]) -> Window:
    """Return the window that shows a part of the slide whole, with a little room around it."""
    downsample = max(extent / size for extent, size in zip(extent_l0, size_px, strict=True)) / (1 - _SLIDE_SEEN)
    return Window(corner_l0[0] + extent_l0[0] / 2, corner_l0[1] + extent_l0[1] / 2, downsample)


def fade(window: Window, frames: int, blend: float) -> Flight:
    """Return a flight that stays: from the slide alone to the map at its middle, and back."""
    times = np.linspace(0, 1, frames)
    blends = (0.5 - 0.5 * np.cos(2 * np.pi * times)) * blend
    return Flight([window] * frames, [""] * frames, [float(b) for b in blends])


def serpentine(
    centres_l0: npt.NDArray[np.float64], patch_l0: tuple[int, int], extent_l0: tuple[float, float]
) -> npt.NDArray[np.float64]:
    """Return the corners of a path over patches, (M, 2): rows of windows, to the right and to the left in turn.

    Parameters
    ----------
    centres_l0 : (N, 2)
        Of the patches; N is at least 1.
    patch_l0 : (width, height)
    extent_l0 : (width, height)
        Of the window. Rows lie at most a window apart; a row reaches from its first patch to its last.
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
        # The nearer end first: rows of one piece of tissue follow each other in turns.
        if points and abs(ends[-1][0] - points[-1][0]) < abs(ends[0][0] - points[-1][0]):
            ends.reverse()
        points += ends
    return np.array(points, np.float64)


def sweep(path_l0: npt.NDArray[np.float64], downsample: float, frames: int, blend: float) -> Flight:
    """Return a flight along a path at an even speed."""
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path_l0, axis=0).T))])
    at = np.linspace(0, lengths[-1], frames)
    x, y = (np.interp(at, lengths, path_l0[:, axis]) for axis in (0, 1))
    windows = [Window(float(a), float(b), downsample) for a, b in zip(x, y, strict=True)]
    return Flight(windows, [""] * frames, [blend] * frames)


def highest_places(
    centres_l0: npt.NDArray[np.float64], values: npt.NDArray[np.floating], most: int, apart_l0: tuple[float, float]
) -> list[int]:
    """Return the numbers of at most `most` patches, the highest first, none within a window of another."""
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
    """Return a flight from an overview to each stop and back to it.

    It stays a while at each, and moves as van Wijk and Nuij ("Smooth and efficient zooming and panning", 2003) say,
    slowly at either end of a move.
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
    """Return a share of the way with no jolt at either end: 6t⁵ - 15t⁴ + 10t³."""
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
