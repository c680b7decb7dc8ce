"""What was measured of a slide's maps: their faithfulness, as the run left it beside the scores."""

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.files.json_files import read_json
from mil_heatmaps.viewer.stamps import stamp_of

FORMAT = "mil-heatmaps faithfulness"
MOST_BYTES = 8 << 20
_KEPT = ("target", "task", "output", "full", "level", "num_patches", "removed", "fractions", "random", "foot")


def read_faithfulness(path: Path) -> dict[str, Any] | None:
    """Return what the page shows of `path`, None when there is no such file.

    Raises
    ------
    ScoreError
        The file is none of this kind, or holds numbers that fit nothing.
    """
    stamp = stamp_of(path)
    return _read(path, stamp) if stamp else None


def verdict_of(path: Path) -> str:
    """Return how faithful the map is that the run draws, empty where that is not known."""
    try:
        measured = read_faithfulness(path)
    except ScoreError:
        return ""
    drawn = [about for about in (measured or {"maps": {}})["maps"].values() if about.get("drawn")]
    return str(drawn[0].get("verdict") or "") if drawn else ""


@lru_cache(maxsize=64)
def _read(path: Path, stamp: str) -> dict[str, Any]:
    read = read_json(path, ScoreError, most_bytes=MOST_BYTES, parse_constant=_nothing, parse_float=_finite)
    if not isinstance(read, dict) or read.get("format") != FORMAT or not isinstance(read.get("maps"), dict):
        raise ScoreError(f"{path}: holds no {FORMAT}")
    if read.get("format_version") != 1:
        raise ScoreError(f"{path}: version {read.get('format_version')!r} of {FORMAT} is not known here, only 1")
    _numbers(read.get("removed"), path)
    maps = {str(name): about for name, about in read["maps"].items() if isinstance(about, dict)}
    for about in maps.values():
        steps = len(_numbers(about.get("removed", read["removed"]), path))  # its own where it scores other patches
        for curve in ("morf", "lerf"):
            for values in (about.get(curve) or {}).values():
                if len(_numbers(values, path)) != steps:
                    raise ScoreError(f"{path}: a curve has not as many values as there are steps")
    return {**{key: read.get(key) for key in _KEPT}, "maps": maps, "slide": read.get("slide_id")}


def _nothing(_: str) -> None:
    return None


def _finite(text: str) -> float | None:
    return value if math.isfinite(value := float(text)) else None


def _numbers(values: Any, path: Path) -> list[float]:
    def is_number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

    if not isinstance(values, list) or not all(map(is_number, values)):
        raise ScoreError(f"{path}: a curve is not a list of numbers")
    return values
