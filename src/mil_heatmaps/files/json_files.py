"""Read untrusted JSON: every fault of the file raises one kind of error."""

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

    Whole numbers that are larger than any float are read as infinite: the code that uses the number refuses it.

    Raises
    ------
    `error`
        The file cannot be read, is not JSON, is nested too deeply, is larger than `most_bytes`, or, where all numbers
        must be `finite`, holds one that is not.
    """
    whole: Callable[[str], Any] = _whole_number
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
    except (ValueError, RecursionError) as cause:  # no text, or nested too deeply
        raise error(f"{path} is not JSON that can be read: {said_by(cause)}") from cause


def parse_json(text: str | bytes) -> Any:
    """Return what a text of JSON holds; every fault of it is a ValueError, one that is nested too deeply as well."""
    try:
        return json.loads(text, parse_int=_whole_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _finite(text: str) -> int | float:
    value = _whole_number(text) if text.lstrip("-").isdigit() else float(text)
    if not math.isfinite(value):
        raise ValueError(f"it holds the number {text[:20]}, which is not finite")
    return value


def _whole_number(digits: str) -> int | float:
    """Return a whole number; one that no float can hold becomes infinite, as it would raise an OverflowError later."""
    return int(digits) if len(digits) < 300 else float(digits)
