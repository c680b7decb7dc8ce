"""Numbers beside the patches (data_arguments.extra): columns of the process list, or tables by slide or case."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mil_heatmaps.choices import CASE_COLUMNS
from mil_heatmaps.errors import ProcessListError
from mil_heatmaps.files.csv_tables import read_table
from mil_heatmaps.files.names import SLIDE_EXTENSIONS, comparable, stem_of
from mil_heatmaps.records.rows import ProcessRow
from mil_heatmaps.words import did_you_mean, first_of

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config


class ExtraInputs:
    """The numbers of every slide; tables are read once.

    Raises
    ------
    ProcessListError
        A table cannot be read, or has no column that names slides or cases.
    """

    def __init__(self, config: Config) -> None:
        self._wanted = config.data_arguments.extra or {}
        self._tables = {name: _Table(path, name) for name, path in config.inputs.extra.items()}

    def of(self, row: ProcessRow, columns: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
        """Return the numbers of one row of the process list with these columns, by name of the input.

        Raises
        ------
        ProcessListError
            A column or a row is missing, or a cell is not a number.
        """
        return {name: self._one(name, given, row, columns) for name, given in self._wanted.items()}

    def _one(self, name: str, given: str | list[str], row: ProcessRow, columns: tuple[str, ...]) -> tuple[float, ...]:
        if isinstance(given, str):
            return self._tables[name].of(row)
        for column in given:
            if column not in columns:
                there = [known for known in columns if known != "slide_id"]
                guess = did_you_mean(column, there)
                raise ProcessListError(
                    f"extra input {name!r} needs the column {column!r}, which the process list lacks; {guess}it has "
                    f"{first_of(there, 8) or 'no other'}"
                )
        return tuple(_number(row.cells.get(column, ""), column, row.slide_id, "the process list") for column in given)


class _Table:
    """Numbers by slide or case."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        columns, records = read_table(path)
        keys = [column for column in ("slide_id", *CASE_COLUMNS) if column in columns]
        if not keys:
            raise ProcessListError(
                f"the table {path} of the extra input {name!r} has no column slide_id or case_id; it has "
                f"{first_of(columns, 8)}"
            )
        self._key = keys[0]
        self._columns = [column for column in columns if column not in keys]
        if not self._columns:
            raise ProcessListError(f"the table {path} of the extra input {name!r} has no column of numbers")
        self._rows: dict[str, Mapping[str, str]] = {}
        for line, cells, _ in records:
            key = self._as_key(cells[self._key])
            if key in self._rows:
                raise ProcessListError(f"line {line} of {path} has {cells[self._key]!r} a second time")
            self._rows[key] = cells

    def _as_key(self, text: str) -> str:
        return comparable(stem_of(text, SLIDE_EXTENSIONS) if self._key == "slide_id" else text)

    def of(self, row: ProcessRow) -> tuple[float, ...]:
        """Return the numbers of a slide."""
        called = row.slide_id if self._key == "slide_id" else _case_of(row, self._path)
        cells = self._rows.get(self._as_key(called))
        if cells is None:
            raise ProcessListError(f"{self._path} has no row of {called!r} for the extra input {self._name!r}")
        return tuple(_number(cells[column], column, called, str(self._path)) for column in self._columns)


def _case_of(row: ProcessRow, path: Path) -> str:
    called = next((row.cells[column] for column in CASE_COLUMNS if row.cells.get(column)), None)
    if called is None:
        raise ProcessListError(
            f"{path} is by case, but the process list does not say the case of {row.slide_id}: give it a column case_id"
        )
    return called


def _number(text: str, column: str, called: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        shown = f"is {text!r}, which is no number" if text.strip() else "is empty"
        raise ProcessListError(f"{column} of {called} in {where} {shown}; the model needs one of every slide")
    return number
