"""Sizes in memory and times, as people write them."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from mil_heatmaps.config.section_types import shown

_BYTES = re.compile(r"^\s*(\d{1,18}(?:\.\d{1,18})?)\s*([KMGT]?)(i?)B?\s*$", re.IGNORECASE)
_CLOCK = re.compile(r"^(?:(\d{1,9})-)?(\d{1,3}):(\d{2})(?::(\d{2}))?$")
_UNITS = re.compile(r"^(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m(?:in)?)?(?:(\d{1,9}(?:\.\d{1,9})?)s)?$")


def parse_duration(value: Any) -> float:
    """Return the seconds in ``3h30m``, ``45m``, ``1d``, ``04:00:00``, ``1-12:00:00`` or a plain number.

    >>> [parse_duration(text) for text in ("3h30m", "45m", "90")]
    [12600.0, 2700.0, 90.0]

    Raises
    ------
    ValueError
        When it is none of these, or not more than 0.
    """
    text = "" if isinstance(value, bool) else str(value).strip().lower().replace(" ", "")
    try:
        seconds = float(text)
    except ValueError:
        if clock := _CLOCK.match(text):
            days, hours, minutes, secs = (int(part or 0) for part in clock.groups())
            seconds = ((days * 24 + hours) * 60 + minutes) * 60 + secs
        elif text and (units := _UNITS.match(text)):
            days_, hours_, minutes_, secs_ = (float(part or 0) for part in units.groups())
            seconds = ((days_ * 24 + hours_) * 60 + minutes_) * 60 + secs_
        else:
            seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"must be a time such as 3h30m, 45m, 04:00:00 or seconds, got {shown(value)}")
    return seconds


def clock(seconds: float) -> str:
    """Return seconds as job schedulers write them: 16200 is ``04:30:00``."""
    minutes, secs = divmod(round(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{secs:02d}"


def parse_bytes(value: Any) -> int:
    """Return the number of bytes in ``8GB``, ``512 MiB`` or a plain number; GB is 1000³, GiB 1024³.

    >>> parse_bytes("8GB"), parse_bytes("1 KiB")
    (8000000000, 1024)
    """
    match = None if isinstance(value, bool) else _BYTES.match(str(value))
    if match is None or float(match[1]) == 0:
        raise ValueError(f"must be a size in memory such as 8GB, got {shown(value)}")
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** " KMGT".index(match[2].upper() or " "))


Memory = Annotated[int, BeforeValidator(parse_bytes, json_schema_input_type=str | int)]
# YAML reads ``04:00:00`` without quotes as a number in base 60, which is the seconds it says.
Duration = Annotated[float, BeforeValidator(parse_duration, json_schema_input_type=str | float)]
