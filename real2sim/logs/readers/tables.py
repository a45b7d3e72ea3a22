"""Logs as tables: our own Parquet format, and CSV files with its columns as spreadsheets and scripts write them."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dexsim.errors import UserError, one_line, parsing
from real2sim.logs.readers.arrow import numbers, parquet_table
from real2sim.logs.readers.recording import KINDS, TIME, Recording, shown
from real2sim.logs.readers.times import find_time, seconds

if TYPE_CHECKING:
    import pyarrow as pa

COMMENTS = ("#", "%", "//")
SEPARATORS = (",", ";", "\t", "|")
# What pandas and spreadsheets call the column that numbers the rows, or that follows a last separator.
_ROW_NUMBERS = re.compile(r"|index|unnamed: \d+(\.\d+)?|level_\d+|row", re.IGNORECASE)
_PANDAS_INDEX = "__index_level_"
_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_DECIMAL_COMMA = re.compile(r"\d,\d")


def read_parquet(path: Path) -> Recording:
    """Reads our own format; raises UserError for a file that is not Parquet."""
    table = parquet_table(path)
    raw = table.schema.metadata or {}
    metadata = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in raw.items()}
    return Recording(path, _columns(table, path), metadata, path.stem)


def read_csv(path: Path) -> Recording:
    """Reads a CSV file with the columns of the Parquet format and their names in the first row.

    Separators may be commas, semicolons (then with decimal commas too), tabs, bars or blanks, with blanks around them.
    Comments, empty rows, and a header that stands in a comment are understood; a file may be packed (`.csv.gz`).

    Raises:
        UserError: If it is no table of numbers.
    """
    header, rows, separator = _split(_text(path), path)
    header, body = _clean(header, rows, separator, path)
    table = _parse(body, len(header), separator, path).rename_columns(header)
    name = Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem
    return Recording(path, _columns(table, path), {}, name)


# --- columns


def _columns(table: pa.Table, path: Path) -> dict[str, np.ndarray]:
    """The columns that hold something, those of a kind in the kind's spelling, times as `time_s` in s."""
    names = [name.strip() for name in table.column_names]
    kept = [i for i, name in enumerate(names) if not _is_row_number(table.column(i), name, path)]
    table = table.select(kept).rename_columns([_spelled(names[i]) for i in kept])
    twice = [name for name, count in Counter(table.column_names).items() if count > 1]
    if twice:
        raise UserError(f"{path.name}: column {shown(twice[0])} is there twice")
    time, columns = find_time(table.column_names, path), {}
    for name in table.column_names:
        is_time = name == time
        with parsing(f"{path.name}: column {shown(name)}", "readable"):
            columns[TIME if is_time else name] = (seconds if is_time else numbers)(table[name], name, path)
    return columns


def _spelled(name: str) -> str:
    """`Position.left_...` as `position.left_...`; joints are spelled by `files`, which knows the robot."""
    kind, dot, joint = name.partition(".")
    known = kind.strip().lower()
    if dot and known in KINDS:
        return f"{known}.{joint.strip()}"
    return TIME if name.lower() == TIME else name


def _is_row_number(column: pa.ChunkedArray, name: str, path: Path) -> bool:
    """Whether a column numbers the rows, or is the empty one that a separator at the end of the rows makes."""
    if name.startswith(_PANDAS_INDEX):
        return True
    if not _ROW_NUMBERS.fullmatch(name):
        return False
    if column.null_count == len(column):
        return True
    try:
        values = numbers(column, name, path)
    except UserError:
        return False  # it holds something: then it is not known what
    return bool((np.diff(values) > 0).all() and (values == np.round(values)).all())


# --- CSV


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        raise UserError(f"{path.name}: not a whole gzip file ({one_line(error)})") from None
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name}: not a CSV file in UTF-8 ({one_line(error)})") from None


def _split(text: str, path: Path) -> tuple[list[str], list[str], str]:
    """Names of the columns, lines of the rows, and the separator."""
    lines, comments = [], []
    for line in re.split(r"\r\n|\n|\r", text):
        if line.lstrip().startswith(COMMENTS) and not lines:
            comments.append(line.lstrip().lstrip("#%/").strip())
        elif line.strip() and not line.lstrip().startswith(COMMENTS):
            lines.append(line)
    if not lines or "\0" in text:
        raise UserError(f"{path.name}: not a CSV file ({'holds bytes of zero' if lines else 'it has no rows'})")
    separator = max(SEPARATORS, key=lines[0].count)
    if separator not in lines[0]:
        separator, lines, comments = " ", *([" ".join(line.split()) for line in each] for each in (lines, comments))
    header = _fields(lines[0], separator)
    if all(_is_number(name, separator) for name in header if name):
        # As numpy.savetxt writes it.
        named = _fields(comments[-1], separator) if comments else []
        if len(named) != len(header):
            raise UserError(f"{path.name}: the first row holds numbers: it must hold the names of the columns")
        return named, lines, separator
    if len(header) == 1:
        raise UserError(f"{path.name}: has one column only: columns must be separated by commas")
    return header, lines[1:], separator


def _fields(line: str, separator: str) -> list[str]:
    try:
        row = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:  # a name longer than any
        row = line.split(separator)
    return [name.strip().strip("'\"").strip() for name in row]


def _is_number(text: str, separator: str) -> bool:
    try:
        float(text.replace(",", ".") if separator != "," else text)
    except ValueError:
        return False
    return True


def _clean(header: list[str], rows: list[str], separator: str, path: Path) -> tuple[list[str], bytes]:
    """The header, and the rows that hold something, without blanks; each must have a value for each column."""
    blank = re.compile(rf"[ \t]*{re.escape(separator)}[ \t]*" if separator not in "\t " else rf" *{separator} *")
    empty = re.compile(rf"[\s\"'{re.escape(separator)}]*")
    rows = [blank.sub(separator, row.strip(" ")) for row in rows if not empty.fullmatch(row)]
    # A separator at the end of all rows, but not of the header, is none; nor is one at the end of the header alone.
    if rows and all(row.endswith(separator) and row.count(separator) == len(header) for row in rows):
        rows = [row[: -len(separator)] for row in rows]
    elif not header[-1] and all(row.count(separator) == len(header) - 2 for row in rows):
        header = header[:-1]
    for number, row in enumerate(rows):
        count = row.count(separator) + 1
        if count != len(header) and '"' not in row:
            raise UserError(
                f"{path.name}: not a CSV file with a value for each column: row {number} has {count} of {len(header)}"
            )
    return header, "\n".join(rows).encode("utf-8")


def _parse(body: bytes, width: int, separator: str, path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    names = [str(i) for i in range(width)]
    if not body:
        return pa.table([pa.array([], pa.float64())] * width, names)
    decimal = "," if separator != "," and _DECIMAL_COMMA.search(body.decode("utf-8")) else "."
    with parsing(path.name, "a CSV file"):
        return arrow_csv.read_csv(
            io.BytesIO(body),
            # One block: the type of a column is that of all of its values, not of the first ones.
            arrow_csv.ReadOptions(column_names=names, block_size=min(len(body) + 1, 2**31 - 1)),
            arrow_csv.ParseOptions(delimiter=separator),
            arrow_csv.ConvertOptions(decimal_point=decimal, strings_can_be_null=True),
        )
