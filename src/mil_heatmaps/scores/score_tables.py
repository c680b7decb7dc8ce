"""Tables of scores: a header line, x and y of each patch's corner, and one or more columns of numbers.

x and y are level-0 pixels; x_um and y_um are micrometres. Tables of QuPath and slideflow say places in their own words:
see `tool_tables`.
"""

import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mil_heatmaps.errors import ScoreError
from mil_heatmaps.features.pairing import names_slide
from mil_heatmaps.files.csv_tables import unguarded
from mil_heatmaps.files.packed import read_packed
from mil_heatmaps.files.parquet import is_parquet, read_parquet
from mil_heatmaps.files.stand_ins import refuse_stand_in
from mil_heatmaps.scores.told_scores import ToldScores
from mil_heatmaps.slides.slide_space import SlideSpace
from mil_heatmaps.words import counted, first_of, said_by

if TYPE_CHECKING:
    import pandas as pd

_X = ("x", "x_l0", "x_level0", "coord_x", "coords_x", "x_coord", "left", "patch_x", "tile_x")
_Y = ("y", "y_l0", "y_level0", "coord_y", "coords_y", "y_coord", "top", "patch_y", "tile_y")
_X_UM, _Y_UM = ("x_um", "coord_x_um"), ("y_um", "coord_y_um")
_WIDTH_L0 = ("patch_size_level0", "patch_size_l0")
_WIDTH_UM = ("tile_size_um", "patch_size_um", "width_um")
_WIDTH = (*_WIDTH_UM, "width", "w", "patch_width", *_WIDTH_L0, "patch_size", "tile_size", "size")
_HEIGHT = ("height_um", "height", "h", "patch_height")
_SLIDE = ("slide_id", "slide", "slide_name", "case_id", "filename", "image")
_IGNORED = ("", "index", "patch", "patch_id", "id", "i", "rank", "label", "row", "col", "column")

_MOST_COLUMNS = 2_000
_LONGEST_LINE = 1 << 20


def plain_scores(
    table: "pd.DataFrame", space: SlideSpace, columns: Sequence[str] | None, path: Path
) -> ToldScores:
    """Return what a table of corners and scores says; `columns` are the scores, every numeric column without it."""
    corners, attributes = _corners(table, space, path)
    names = score_columns(table, columns, path)
    return ToldScores(corners, attributes, tuple(names), values_of(table, names, path))


def values_of(table: "pd.DataFrame", names: Sequence[str], path: Path) -> npt.NDArray[np.float64]:
    """Return columns as (N, K), NaN for empty cells."""
    return np.stack([numbers(table, name, path, blank=True) for name in names], axis=1)


def table_unit(path: Path) -> str | None:
    """Return ``um`` where the columns of a table say so, else None; reads its first two lines."""
    names = {_plain(str(name)) for name in (read_table(path).columns if is_parquet(path) else _dialect(path)[0])}
    if any(name.startswith("centroid") and name.strip("()").endswith(("um", "µm", "μm")) for name in names):
        return "um"
    return None if names & set(_X) or not names & set(_X_UM) else "um"


def read_table(path: Path) -> "pd.DataFrame":
    """Return the table as text and numbers, its index counting the lines below the header."""
    import pandas as pd

    refuse_stand_in(path, ScoreError)
    if is_parquet(path):
        table = read_parquet(path, ScoreError)
        if table.shape[1] > _MOST_COLUMNS:
            raise ScoreError(f"{path}: has {table.shape[1]:,} columns; up to {_MOST_COLUMNS:,} are read")
        return table.dropna(how="all")
    try:
        names, separator, decimal = _dialect(path)
        # Slide names may look like numbers; as text they keep their leading zeros.
        text_columns = {name: str for name in names if _plain(name) in _SLIDE}
        table = pd.read_csv(
            io.BytesIO(read_packed(path, ScoreError)) if path.suffix == ".gz" else path,
            sep=separator,
            decimal=decimal,
            dtype=text_columns,
            encoding="utf-8-sig",
            skipinitialspace=True,
            skip_blank_lines=False,
        )
    except ScoreError:
        raise
    except (OSError, EOFError, ValueError, OverflowError, zlib.error) as cause:  # pandas' own errors are ValueErrors
        raise ScoreError(f"{path}: cannot be read as a table ({said_by(cause)})") from cause
    if table.index.nlevels > 1 or not pd.api.types.is_integer_dtype(table.index) or len(names) < table.shape[1]:
        raise ScoreError(f"{path}: its rows have more cells than the {counted(len(names), 'column')} of its first line")
    if len(names) > _MOST_COLUMNS:
        raise ScoreError(f"{path}: has {len(names):,} columns; up to {_MOST_COLUMNS:,} are read")
    if _allnumbers(names):
        raise ScoreError(f"{path}: the first line holds numbers; it must name the columns, such as x,y,score")
    # pandas renames the second of two equal columns, so they are looked for before it read them.
    if twice := sorted(name for name, times in Counter(map(_trim, names)).items() if name and times > 1):
        raise ScoreError(f"{path}: two columns are called {twice[0]!r}")
    table = table.dropna(how="all")
    table.columns = [_trim(name) for name in table.columns]
    return table


def _trim(name: object) -> str:
    text = unguarded(str(name))
    return "" if text.startswith("Unnamed: ") else text


def _allnumbers(names: Sequence[str]) -> bool:
    try:
        [float(name) for name in names]
    except ValueError:
        return False
    return True


def _dialect(path: Path) -> tuple[list[str], str, str]:
    """Return column names, separator and decimal sign, from the first two lines.

    With semicolons or tabs a comma in the first row is a decimal sign, as European spreadsheets write.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig") as file:
            header, first = file.readline(_LONGEST_LINE), file.readline(_LONGEST_LINE)
    except (OSError, EOFError, ValueError, zlib.error) as cause:
        raise ScoreError(f"{path}: cannot be read as a table ({said_by(cause)})") from cause
    if len(header) == _LONGEST_LINE:
        raise ScoreError(f"{path}: its first line, which names the columns, has over {_LONGEST_LINE:,} characters")
    separator = max("\t;,", key=header.count) if any(sign in header for sign in "\t;,") else r"\s+"
    names = re.split(separator, header.strip())
    return names, separator, "," if separator != "," and "," in first else "."


def rows_of_slide(table: "pd.DataFrame", slide_id: str | None, path: Path) -> "pd.DataFrame":
    """Return the rows of the slide; those of the only slide in the table also when it is called otherwise."""
    column = _find(table, _SLIDE)
    if column is None:
        return table
    slides = table[column].astype(str)
    known = list(dict.fromkeys(slides))
    if len(known) < 2:
        return table
    if slide_id is None:
        raise ScoreError(f"{path}: holds {len(known)} slides ({first_of(known, 3)}); say which with slide_id")
    meant = [name for name in known if names_slide(name, slide_id)]
    if not meant:
        raise ScoreError(f"{path}: no rows for slide {slide_id!r}; its {column!r} are {first_of(known, 5)}")
    return table[slides.isin(meant)]


def _plain(name: object) -> str:
    return str(name).strip().strip('"').lower().replace(" ", "_")


def _find(table: "pd.DataFrame", names: Sequence[str]) -> str | None:
    """Return the user's own spelling of the first of `names` that is a column."""
    lower = {_plain(column): str(column) for column in table.columns}
    return next((lower[name] for name in names if name in lower), None)


def _corners(table: "pd.DataFrame", space: SlideSpace, path: Path) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
    x, y, attributes = _find(table, _X), _find(table, _Y), _attributes(table, space, path)
    if x is None and y is None and (x := _find(table, _X_UM)) and (y := _find(table, _Y_UM)):
        attributes["unit"] = "um"
    if x is None or y is None:
        lacking = " and ".join(name for name, found in (("x", x), ("y", y)) if found is None)
        raise ScoreError(
            f"{path}: no column {lacking} (top-left corner of a patch in level-0 pixels); the columns are"
            f" {[str(column) for column in table.columns]}"
        )
    if not len(table):
        raise ScoreError(f"{path}: no rows below the header")
    return np.stack([numbers(table, x, path), numbers(table, y, path)], axis=1), attributes


def _attributes(table: "pd.DataFrame", space: SlideSpace, path: Path) -> dict[str, Any]:
    """Return what the columns say of patches and slide, under the names that HDF5 files use.

    A size whose column names no unit is in that of the coordinates.
    """
    attributes: dict[str, Any] = {}
    if (said := _size_columns(table, path)) is not None:
        width = _plain(_find(table, _WIDTH))
        in_um = space.unit == "um" or _find(table, _X_UM) is not None
        name = "tile_size_um" if width in _WIDTH_UM else "tile_size" if in_um else "patch_size_level0"
        attributes["patch_size_level0" if width in _WIDTH_L0 else name] = said
    if (column := _find(table, _SLIDE)) is not None and len(table):
        attributes["slide_id"] = str(table[column].iloc[0])
    return attributes


def _size_columns(table: "pd.DataFrame", path: Path) -> npt.NDArray[np.float64] | None:
    width, height = _find(table, _WIDTH), _find(table, _HEIGHT)
    if width is None:
        return None
    sizes = np.stack([numbers(table, width, path), numbers(table, height or width, path)], axis=1)
    if (sizes != sizes[0]).any():
        row = int(np.argmax((sizes != sizes[0]).any(axis=1)))
        raise ScoreError(
            f"{path}: patches of different size, {sizes[0].tolist()} and, in line {_line(table, row)},"
            f" {sizes[row].tolist()}; all patches of a slide must be equal"
        )
    return np.asarray(sizes[0])


def score_columns(
    table: "pd.DataFrame",
    columns: Sequence[str] | None,
    path: Path,
    passed_over: Callable[[str], bool] = lambda _: False,
) -> list[str]:
    """Return the columns that are scores: those asked for, else every numeric one that is nothing else."""
    if columns is not None:
        if missing := [name for name in columns if name not in table.columns]:
            known = [str(column) for column in table.columns]
            raise ScoreError(f"{path}: no column {missing[0]!r}; choose from {known}")
        return list(columns)
    used = {_find(table, names) for names in (_X, _Y, _X_UM, _Y_UM, _WIDTH, _HEIGHT, _SLIDE)}
    names = [
        str(column)
        for column in table.columns
        if column not in used
        and str(column).lower() not in _IGNORED
        and not str(column).endswith(" percentile")  # made from a score, by our own tables
        and not passed_over(str(column))
        and _is_numeric(table[column])
    ]
    if names:
        return names
    left = [str(column) for column in table.columns if column not in used]
    raise ScoreError(
        f"{path}: no column of scores besides x and y"
        + (f"; {left} hold text or are row numbers" if left else "; the columns are x, y and no other")
    )


def numbers(table: "pd.DataFrame", name: str, path: Path, *, blank: bool = False) -> npt.NDArray[np.float64]:
    """Return a column as float64; empty cells are NaN where `blank` allows them, other text is an error."""
    column = table[name]
    values = _as_floats(column).to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.isnan(values) if not blank else np.isnan(values) & column.notna().to_numpy()
    if wrong.any():
        row = int(np.argmax(wrong))
        found = str(column.iloc[row])
        raise ScoreError(f"{path}: line {_line(table, row)}, column {name!r}: {found!r} is not a number")
    return values


def _is_numeric(column: "pd.Series[Any]") -> bool:
    """Say whether most cells are numbers: then the others are mistakes, to be named with their line."""
    filled = column.dropna()
    return not len(filled) or bool(_as_floats(filled).notna().mean() > 0.5)


def _as_floats(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return a column as numbers, NaN for what is none or has more digits than a number can."""
    import pandas as pd

    try:
        return pd.to_numeric(column, errors="coerce")
    except OverflowError:  # whole numbers of hundreds of digits
        return column.map(lambda cell: float("nan") if isinstance(cell, int) and cell.bit_length() > 1000 else cell)


def _line(table: "pd.DataFrame", row: int) -> int:
    """Return the line of the file a row comes from; the header is line 1."""
    return int(table.index[row]) + 2
