"""Slides held open between requests, a few at a time."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mil_heatmaps.viewer.stamps import stamp_of
from mil_heatmaps.viewer.tile_slide import TileSlide

MOST_OPEN = 4
"""Slides (and pictures) held open. Each keeps at most 48 MiB of decoded tiles and 48 MiB of overview."""


class _Held:
    """A slide being opened or open, with the number of requests that use it."""

    def __init__(self) -> None:
        self.users = 0
        self.lock = threading.Lock()
        self.slide: TileSlide | None = None


class OpenSlides:
    """Opens slides when first asked for and closes those used longest ago, never one in use."""

    def __init__(self, most_open: int = MOST_OPEN) -> None:
        self._most_open = most_open
        self._held: OrderedDict[tuple[Path, bool, str], _Held] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def use(self, path: Path, *, lossless: bool = False) -> Iterator[TileSlide]:
        """Yield the slide at `path`, opened again when it was rewritten; SlideError when it cannot be opened."""
        key = path, lossless, stamp_of(path)
        with self._lock:
            held = self._held.setdefault(key, _Held())
            held.users += 1
            self._held.move_to_end(key)
        try:
            with held.lock:  # one thread opens, others wait for that slide only
                if held.slide is None:
                    held.slide = TileSlide(path, lossless=lossless)
            yield held.slide
        finally:
            self._release(key, held)

    def _release(self, key: tuple[Path, bool, str], held: _Held) -> None:
        closing: list[_Held] = []
        with self._lock:
            held.users -= 1
            if held.slide is None and held.users == 0 and self._held.get(key) is held:
                del self._held[key]  # it could not be opened
            surplus = len(self._held) - self._most_open
            for other_key in [k for k, h in self._held.items() if h.users == 0][: max(0, surplus)]:
                closing.append(self._held.pop(other_key))
        for gone in closing:
            if gone.slide is not None:
                gone.slide.close()

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            held, self._held = list(self._held.values()), OrderedDict()
        for item in held:
            if item.slide is not None:
                item.slide.close()
