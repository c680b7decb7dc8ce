"""A catalog that is read again while its run goes on."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.viewer.catalog import Catalog
from mil_heatmaps.words import reason_of

logger = logging.getLogger(__name__)

LEAST_S = 2.0
WHOLE_S = 120.0
SHARE = 0.02
"""At most so large a part of the time is spent on reading everything again: tiles wait meanwhile."""


class LiveCatalog:
    """The catalog as it is now. Slides keep their places; new ones come after them.

    Parameters
    ----------
    catalog : Catalog
    again : function, optional
        Reads it again; left out, it never changes.
    sign : function, optional
        Quickly gives what changes when there is something new; all is read again then, and otherwise now and then.

    Attributes
    ----------
    version : int
        Counts what changed.
    """

    def __init__(
        self,
        catalog: Catalog,
        again: Callable[[], Catalog] | None = None,
        sign: Callable[[], str] | None = None,
    ) -> None:
        self.catalog = catalog
        self.version = 0
        self._again = again
        self._lock = threading.Lock()
        self._sign = sign
        self._seen = "" if sign is None else sign()
        self._next = time.monotonic() + LEAST_S
        self._next_whole = time.monotonic() + (0.0 if sign is None else WHOLE_S)

    def refresh(self, *, now: bool = False) -> Catalog:
        """Return the catalog, read again unless that was done a moment ago; what cannot be read leaves it as it is."""
        if self._again is None or (not now and time.monotonic() < self._next):
            return self.catalog
        if not self._lock.acquire(blocking=now):  # somebody is at it
            return self.catalog
        try:
            begin = time.monotonic()
            self._next = begin + LEAST_S
            seen = "" if self._sign is None else self._sign()
            if not now and seen == self._seen and begin < self._next_whole:
                return self.catalog
            fresh = _in_place(self.catalog, self._again())
            took = time.monotonic() - begin
            self._seen = seen
            self._next = begin + took + max(LEAST_S, took / SHARE)
            self._next_whole = self._next + (0.0 if self._sign is None else WHOLE_S)
            if fresh != self.catalog:
                self.catalog = fresh
                self.version += 1
        except (HeatmapError, OSError) as error:
            logger.warning("the run cannot be read again: %s", reason_of(error))
            self._next = time.monotonic() + 10 * LEAST_S
        finally:
            self._lock.release()
        return self.catalog


def _in_place(old: Catalog, new: Catalog) -> Catalog:
    """Return `new` with the slides of `old` at their places: addresses and open pages count them."""
    found = {entry.slide_id: entry for entry in new.slides}
    known = {entry.slide_id for entry in old.slides}
    gone: dict[str, Any] = {"scores": (), "pictures": (), "tissue": None, "problem": "no longer in the run"}
    kept = [found.get(entry.slide_id) or replace(entry, **gone) for entry in old.slides]
    return replace(new, slides=(*kept, *(entry for entry in new.slides if entry.slide_id not in known)))
