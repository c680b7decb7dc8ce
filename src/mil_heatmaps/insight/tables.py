"""Rows of a pandas table as plain mappings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import pandas as pd


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return each row as a mapping from column to value."""
    return cast("list[dict[str, Any]]", table.to_dict("records"))
