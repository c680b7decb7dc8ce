"""How ``record.json`` is laid out: JSON whose first line is the head, then a line a stage.

The head holds everything but the stages' own entries, and how many bytes follow it. To see that a slide is finished
it is enough to read the head: of a hundred thousand records that is a fraction of the work.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_AT_ONCE = 1 << 16


def record_text(head: Mapping[str, Any], stages: Mapping[str, Any]) -> str:
    """Return the file's text: `head`, then `stages`, both with their keys in order."""
    lines = ",\n".join(f"{_json(name)}: {_json(stage)}" for name, stage in sorted(stages.items()))
    rest = f'"stages": {{\n{lines}\n}}}}\n' if lines else '"stages": {}}\n'
    first = _json({**head, "rest_bytes": len(rest.encode())})
    return f"{first[:-1]},\n{rest}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def read_record(path: Path) -> dict[str, Any] | None:
    """Return what a record's file holds; None when it is missing or no JSON mapping."""
    try:
        with open(path, "rb") as file:
            data = json.loads(file.read())
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def read_head(path: str) -> dict[str, Any] | None:
    """Return a record's head; None when the file is missing, cut short, or laid out otherwise."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            data = os.read(descriptor, _AT_ONCE)
            size = len(data) if len(data) < _AT_ONCE else os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        end = data.find(b",\n")
        head = json.loads(data[:end] + b"}") if end > 0 else None
    except (OSError, ValueError):
        return None
    if not isinstance(head, dict) or head.get("rest_bytes") != size - end - 2:
        return None
    return head
