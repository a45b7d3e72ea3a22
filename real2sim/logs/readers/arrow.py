"""Tables of pyarrow and their columns as arrays; what the library says of a broken file becomes one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dexsim.errors import UserError, one_line
from real2sim.logs.readers.recording import listed, shown

if TYPE_CHECKING:
    import pyarrow as pa


@contextlib.contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Makes a UserError, "<file>: <what> (<message>)", of whatever pyarrow and numpy raise within."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # texts that are no UTF-8, sizes that no memory has, types that have no numbers ...
        raise UserError(f"{path.name}: {what} ({one_line(error)[:300] or type(error).__name__})") from None


def parquet_table(path: Path) -> pa.Table:
    """The whole table of a Parquet file; raises UserError for a file that is none."""
    import pyarrow.parquet as pq

    with reading(path, "not a whole Parquet file"), pq.ParquetFile(path) as file:
        table = file.read()
        table.validate(full=True)
        return table


def named(table: pa.Table, name: str, path: Path) -> pa.ChunkedArray:
    """One of a table's columns; raises UserError where there is none of that name, or more than one."""
    count = table.column_names.count(name)
    if count == 0:
        raise UserError(f"{path.name}: has no column {shown(name)}; it has: {listed(table.column_names)}")
    if count > 1:
        raise UserError(f"{path.name}: column {shown(name)} is there twice")
    return table[name]


def numbers(column: pa.ChunkedArray, name: str, path: Path) -> np.ndarray:
    """The column as (T,) float64, missing values as NaN; raises UserError where it holds no numbers."""
    import pyarrow as pa

    is_number = (pa.types.is_floating, pa.types.is_integer, pa.types.is_null, pa.types.is_decimal)
    with reading(path, f"column {shown(name)} cannot be read as numbers"):
        if pa.types.is_dictionary(column.type):
            column = pa.chunked_array([chunk.dictionary_decode() for chunk in column.chunks], column.type.value_type)
        if not any(test(column.type) for test in is_number):
            holds = f"{path.name}: column {shown(name)} holds values of type {str(column.type)[:80]}"
            raise UserError(f"{holds}: must be numbers{_first_text(column)}")
        if pa.types.is_decimal(column.type) or pa.types.is_null(column.type):
            column = column.cast(pa.float64())
        return column.to_numpy(zero_copy_only=False).astype(np.float64)


def _first_text(column: pa.ChunkedArray) -> str:
    """Which of a column's texts is the first that is no number, for the message."""
    import pyarrow as pa

    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return ""
    for row, value in enumerate(column.to_pylist()):
        try:
            float(value or "nan")
        except ValueError:
            return f"; row {row} has {value[:40]!r}"
    return ""
