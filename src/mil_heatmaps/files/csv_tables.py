"""Read and write tables: CSV with named columns, as written by hand, by a spreadsheet or by a run."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.errors import ProcessListError
from mil_heatmaps.files.names import restored
from mil_heatmaps.files.stand_ins import refuse_stand_in
from mil_heatmaps.words import said_by

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile(r"[=@\t]|[+-][A-Za-z]")
"""Beginning of a cell that a spreadsheet would run as a formula."""
_ODD_SIGNS = "=@\t+-'"
"""First signs of such cells, and of those that are guarded already."""


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as CSV: the header, then one line per row, whose cells are in the order of the columns.

    A spreadsheet runs none of its text: see `guarded`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(guarded, columns))
    writer.writerows([guarded(cell) if cell and isinstance(cell, str) else cell for cell in row] for row in rows)
    return text.getvalue()


def frame_text(table: "pd.DataFrame", **options: Any) -> str:
    """Return a pandas table as CSV without its index, guarded as `csv_text` is; `options` are those of `to_csv`."""
    safe = table.copy(deep=False)
    safe.columns = [guarded(name) for name in table.columns]
    for place, kind in enumerate(table.dtypes):
        if kind.kind not in "biufcmM":
            safe.isetitem(place, [guarded(cell) for cell in table.iloc[:, place].astype(object)])
    return str(safe.to_csv(index=False, **options))


def guarded(cell: object) -> object:
    """Return a cell with an apostrophe in front where a spreadsheet would run it, or a reader would strip blanks."""
    return f"'{cell}" if isinstance(cell, str) and _is_odd(cell) else cell


def unguarded(text: str) -> str:
    """Return the text of a cell: with `guarded` undone, else without blanks around it."""
    plain = text.strip()
    if plain.startswith("'") and _is_odd(rest := text.lstrip()[1:]):
        plain = rest
    return restored(plain)


def _is_odd(text: str) -> bool:
    if text.isidentifier():  # nearly always
        return False
    if text[:1] in _ODD_SIGNS and (_FORMULA.match(text) or (text.startswith("'") and _is_odd(text[1:]))):
        return True
    return text != text.strip()


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the header of a CSV, then each row that is not blank: its line, and its cells as stripped text.

    If the header has no comma, semicolons or tabs separate the cells.

    Raises
    ------
    ProcessListError
        When there is no such file, it is not a CSV, has no header, or two columns of one name.
    """
    refuse_stand_in(path, ProcessListError)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            sign = next((sign for sign in ",;\t" if sign in header), ",")
            reader = csv.reader(file, delimiter=sign, skipinitialspace=True, strict=True)
            columns = [unguarded(name) for name in next(reader, [])]
            while columns and not columns[-1]:  # a spreadsheet's empty columns at the right
                columns.pop()
            _check_header(columns, path)
            yield reader.line_num, columns
            for cells in reader:
                texts = list(map(unguarded, cells))
                if any(texts):
                    yield reader.line_num, texts
    except FileNotFoundError:
        raise ProcessListError(f"no such table: {path}") from None
    except OSError as error:
        raise ProcessListError(f"cannot read {path}: {error.strerror or said_by(error)}") from error
    except UnicodeDecodeError as error:
        raise ProcessListError(
            f"{path} is not a text file in UTF-8 (byte {error.start}); save it as CSV UTF-8"
        ) from error
    except csv.Error as error:
        said = said_by(error).replace("unexpected end of data", "a quotation mark is opened and not closed")
        raise ProcessListError(f"{path} is not a CSV: {said} (line {reader.line_num})") from error


def read_table(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str], int]]]:
    """Return the columns of a CSV and, for each row, its line, its cells and how many cells it has too many.

    See `read_rows`, also for the errors.
    """
    rows = read_rows(path)
    _, columns = next(rows)
    records = []
    for line, texts in rows:
        row = dict.fromkeys(columns, "")
        row.update(zip(columns, texts, strict=False))
        records.append((line, row, sum(1 for text in texts[len(columns) :] if text)))
    return columns, records


def _check_header(columns: list[str], path: Path) -> None:
    if not columns:
        raise ProcessListError(f"{path} is empty; its first line must name the columns, slide_id among them")
    for name, times in Counter(columns).items():
        if times > 1:
            raise ProcessListError(f"{path} has two columns named {name!r}")
