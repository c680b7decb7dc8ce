"""Partial results of a long measurement, in a file beside its result, so that a stop or kill loses little."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from zipfile import BadZipFile

from mil_heatmaps.files.atomic import atomic_path, flush_names_now
from mil_heatmaps.files.digests import fingerprint
from mil_heatmaps.numpy_later import np

if TYPE_CHECKING:
    import numpy.typing as npt

    from mil_heatmaps.explain.watch import Watch
    from mil_heatmaps.stages.base import SlideWork

TELL_EVERY_S = 2.0
"""Seconds between progress reports of a long measurement."""

Arrays: TypeAlias = "dict[str, npt.NDArray[Any]]"


class PartialResults:
    """Arrays by name, of work that is identified by everything it depends on.

    Parameters
    ----------
    path : Path
        A ``.npz`` file; a file of other inputs, or an incomplete one, is ignored.
    inputs : mapping
    """

    def __init__(self, path: Path, inputs: Mapping[str, Any]) -> None:
        self._path, self._key = path, fingerprint(inputs)
        self._parts = self._read()

    def load(self, name: str) -> Arrays | None:
        """Return what was saved under a name, None without it."""
        return self._parts.get(name)

    def save(self, name: str, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Keep arrays under a name, in the file too."""
        self._parts[name] = {key: np.array(value) for key, value in arrays.items()}
        flat = {json.dumps([name, key]): value for name, part in self._parts.items() for key, value in part.items()}
        with atomic_path(self._path, durable=False) as half, half.open("wb") as file:
            np.savez(file, allow_pickle=False, key=np.array(self._key), **flat)

    def remove(self) -> None:
        """Remove the file, once the result beside it is on the disk."""
        flush_names_now(self._path.parent)
        self._path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Arrays]:
        parts: dict[str, Arrays] = {}
        try:
            with np.load(self._path, allow_pickle=False) as stored:
                if str(stored["key"]) != self._key:
                    return {}
                for label in stored.files:
                    if label != "key":
                        name, key = json.loads(label)
                        parts.setdefault(name, {})[key] = stored[label]
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):  # missing or incomplete
            return {}
        return parts


def watch_of(work: SlideWork, partial: PartialResults) -> Watch:
    """Return a watch that reports progress, saves partial results, and stops the work when the run is asked to stop."""
    from mil_heatmaps.explain.watch import Watch
    from mil_heatmaps.stages.base import Stopped

    told = time.monotonic()

    def tell(what: str, done: int, total: int) -> None:
        nonlocal told
        if done < total and work.should_stop():
            raise Stopped
        if work.on_stage is not None and time.monotonic() - told >= TELL_EVERY_S:
            work.on_stage(f"faithfulness {done} of {total}")
            told = time.monotonic()

    return Watch(tell=tell, save=partial.save, load=partial.load)
