"""Tables in Parquet files, read by pyarrow where it is installed: only plain columns, up to a limit of size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.words import lacking, repeated, said_by

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".parquet", ".parquet.gzip")
"""slideflow's files end with .gzip because their columns are compressed; the file itself is not."""

MOST_NUMBERS = 1 << 28
"""Rows times columns: 2 GiB as float64."""


def is_parquet(path: Path) -> bool:
    """Whether a file is a Parquet file by its name."""
    return path.name.lower().endswith(SUFFIXES)


def read_parquet(path: Path, error: type[HeatmapError]) -> pd.DataFrame:
    """Return the columns of numbers, truth values and texts, without what pandas noted of an index.

    Raises
    ------
    HeatmapError
        Of the class `error`: a damaged file, two columns of one name, a table that is too large.
    MissingDependencyError
        pyarrow is not installed.
    """
    try:
        from pyarrow import parquet, types
    except ImportError as cause:
        raise lacking("a parquet table", "pyarrow", "pip install pyarrow", cause) from cause
    try:
        with parquet.ParquetFile(path) as file:
            # The size is checked first: a column of one value takes no room at all in the file.
            told, plain = file.metadata, (types.is_integer, types.is_floating, types.is_boolean, types.is_string,
                                          types.is_large_string, types.is_dictionary, types.is_null)  # fmt: skip
            schema = file.schema_arrow
            names = [field.name for field in schema if any(test(field.type) for test in plain)]
            names = [name for name in names if not name.startswith("__index_level_")]
            if told.num_rows * len(names) > MOST_NUMBERS:
                most = f"up to {MOST_NUMBERS:,} numbers are read"
                raise error(f"{path} has {told.num_rows:,} rows and {len(names):,} columns; {most}")
            if twice := repeated(names):
                raise error(f"{path}: two columns are called {twice[0]!r}")
            table: pd.DataFrame = file.read(columns=names).replace_schema_metadata(None).to_pandas()
            return table
    except HeatmapError:
        raise
    except Exception as cause:  # a damaged file fails in as many ways as there are kinds of columns
        raise error(f"cannot read {path}: {said_by(cause)}") from cause
