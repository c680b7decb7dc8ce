"""Read JSON of strangers: whatever is wrong with the file is told in one kind of error."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.packed import read_packed
from mil_heatmaps.files.stand_ins import refuse_no_file
from mil_heatmaps.words import said_by


def read_json(
    path: Path,
    error: type[HeatmapError],
    *,
    most_bytes: int | None = None,
    finite: bool = False,
    parse_constant: Callable[[str], Any] | None = None,
    parse_float: Callable[[str], Any] | None = None,
) -> Any:
    """Return what a JSON file holds, unpacked first when its name ends in .gz.

    Whole numbers that are larger than any float are read as infinite: the reader of the number refuses it as such.

    Raises
    ------
    `error`
        It cannot be read, is not JSON, nested without end, over `most_bytes`, or, where all numbers must be `finite`,
        holds one that is not.
    """
    whole: Callable[[str], Any] = _whole
    if finite:
        whole = parse_float = parse_constant = _finite
    refuse_no_file(path, error)
    try:
        if most_bytes is not None and (size := path.stat().st_size) > most_bytes:
            raise error(f"{path}: {size:,} bytes of JSON; up to {most_bytes:,} are read")
        return json.loads(
            read_packed(path, error), parse_int=whole, parse_constant=parse_constant, parse_float=parse_float
        )
    except HeatmapError:
        raise
    except json.JSONDecodeError as cause:
        raise error(f"{path} is not JSON: {cause.msg} at line {cause.lineno}, column {cause.colno}") from None
    except OSError as cause:
        raise error(f"cannot read {path}: {cause.strerror or said_by(cause)}") from cause
    except (ValueError, RecursionError) as cause:  # no text, or nested without end
        raise error(f"{path} is not JSON that can be read: {said_by(cause)}") from cause


def _finite(text: str) -> int | float:
    value = _whole(text) if text.lstrip("-").isdigit() else float(text)
    if not math.isfinite(value):
        raise ValueError(f"it holds the number {text[:20]}, which is not finite")
    return value


def _whole(digits: str) -> int | float:
    """Return a whole number; what no float can hold becomes infinite, where it would end in an OverflowError later."""
    return int(digits) if len(digits) < 300 else float(digits)
