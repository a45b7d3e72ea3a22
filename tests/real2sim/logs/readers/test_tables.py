"""Tests of `real2sim.logs.readers.tables` and `times`: tables as spreadsheets, scripts and databases write them."""

from __future__ import annotations

import decimal
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from real2sim.logs.files import load_log
from tests.real2sim.logged import ROBOT, columns_of, make_log, write_columns
from tests.real2sim.recorded import assert_same, csv_text, refusal

ARM = make_log(ROBOT.arm_joints("left"))
COLUMNS = columns_of(ARM)
ROWS = len(ARM.time)
NS = 1_790_000_000_000_000_000 + 20_000_000 * np.arange(ROWS)
TEXT = csv_text(COLUMNS)
HEADER, _, BODY = TEXT.partition("\n")


def timed(times: Any, name: str = "time_s") -> dict[str, Any]:
    return {name: times, **{key: values for key, values in COLUMNS.items() if key != "time_s"}}


# --- times

SINCE = NS - NS[0]
TIMES: dict[str, tuple[str, Any]] = {
    "whole nanoseconds": ("time_s", NS),
    "nanoseconds from zero": ("time_s", SINCE),
    "nanoseconds as floats": ("time_s", NS.astype(float)),
    "nanoseconds without a sign": ("time_s", NS.astype(np.uint64)),
    "microseconds": ("time_s", NS // 1000),
    "microseconds in 32 bits": ("time_s", (SINCE // 1000).astype(np.int32)),
    "named nanoseconds": ("time_ns", NS),
    "lbr-stack's": ("record_time_nsec", NS),
    "named microseconds": ("timestamp_us", NS // 1000),
    "named milliseconds": ("time_ms", NS // 1_000_000),
    "a unit in brackets": ("time [ms]", NS // 1_000_000),
    "another name": ("Timestamp", ARM.time),
    "points in time": ("time_s", pa.array(NS).cast(pa.timestamp("ns"))),
    "of a zone": ("timestamp", pa.array(NS // 1000).cast(pa.timestamp("us", "Europe/Berlin"))),
    "durations": ("time_s", pa.array(SINCE // 1_000_000).cast(pa.duration("ms"))),
    "times of day": ("time_s", pa.array(SINCE).cast(pa.time64("ns"))),
    "texts": ("time_s", [str(np.datetime64(int(time), "ns")) for time in NS]),
    "decimals": ("time_s", [decimal.Decimal(f"{time:.2f}") for time in ARM.time]),
}


@pytest.mark.parametrize("case", TIMES)
def test_times_are_read_in_the_unit_that_they_can_only_have(tmp_path: Path, case: str) -> None:
    name, times = TIMES[case]
    assert_same(load_log(write_columns(tmp_path / "log.parquet", timed(times, name)), ROBOT), ARM)
    if isinstance(times, np.ndarray) or case == "texts":
        (tmp_path / "log.csv").write_text(csv_text(timed(times, name)))
        assert_same(load_log(tmp_path / "log.csv", ROBOT), ARM)


@pytest.mark.parametrize(
    ("name", "times", "expected"),
    [
        ("time_s", SINCE / 1e6, "steps of 20 s: must be at most 0.5 s; its unit is s; if they are ms, call it time_ms"),
        ("time_s", ARM.time / 60, "lasts 0.13 s: must be at least 5 s"),
        ("time_ns", ARM.time, "column 'time_ns' has steps of 0.02 ns: rows of a log are 1e-05 to 0.5 s apart"),
        ("time_us", NS, "column 'time_us' has steps of 2e+07 us"),
        ("time_s", pa.array([None if i == 9 else int(t) for i, t in enumerate(NS)], pa.int64()), "row 9: time_s = nan"),
        ("time_s", pa.array([(-1) ** i * 2**62 for i in range(ROWS)], pa.int64()), "row 1: time_s = "),
        ("time_s", pa.nulls(ROWS), "row 0: time_s = nan is not a time"),
        ("time_s", pa.array([True] * ROWS), "column 'time_s' holds values of type bool: must be numbers"),
        ("time_s", pa.array(np.arange(ROWS, dtype=np.int32)).cast(pa.date32()), "holds values of type date32[day]"),
        ("time_s", pa.array(NS // 10**9).cast(pa.timestamp("s")), "row 1: time_s = 0 repeats 0"),
        ("time_s", [f"{i}th" for i in range(ROWS)], "type string: must be numbers; row 0 has '0th'"),
        ("time_s", [[0.0]] * ROWS, "holds values of type list"),
    ],
)
def test_times_in_no_clear_unit_are_refused(tmp_path: Path, name: str, times: Any, expected: str) -> None:
    assert expected in refusal(write_columns(tmp_path / "log.parquet", timed(times, name)))


def test_two_columns_of_times_are_one_too_many(tmp_path: Path) -> None:
    path = write_columns(tmp_path / "log.parquet", {**COLUMNS, "time_ns": NS})
    assert "columns 'time_s', 'time_ns' all hold times: keep one of them" in refusal(path)


# --- CSV as people have it

INDEX = np.arange(ROWS)
FILES: dict[str, Any] = {
    "plain": TEXT,
    "an index without a name": csv_text({"": INDEX, **COLUMNS}),
    "an index of pandas, read and written again": csv_text({"Unnamed: 0.1": INDEX, "Unnamed: 0": INDEX, **COLUMNS}),
    "a column index": csv_text({**COLUMNS, "Index": 7 + 3 * INDEX}),
    "level_0": csv_text({"level_0": INDEX, **COLUMNS}),
    "blanks after commas": TEXT.replace(",", ", "),
    "blanks everywhere": TEXT.replace(",", " ,  ").replace("\n", "  \n"),
    "a byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "UTF-16": TEXT.encode("utf-16"),
    "semicolons": csv_text(COLUMNS, ";"),
    "semicolons and decimal commas": csv_text(COLUMNS, ";").replace(".", ",").replace("command,", "command.")
    .replace("position,", "position.").replace("velocity,", "velocity.").replace("effort,", "effort."),
    "tabs": csv_text(COLUMNS, "\t"),
    "blanks as separators": csv_text(COLUMNS, "  "),
    "commas at the end of all lines": TEXT.replace("\n", ",\n"),
    "commas at the end of the rows": f"{HEADER}\n" + BODY.replace("\n", ",\n"),
    "a comma at the end of the header": f"{HEADER},\n{BODY}",
    "lines of Windows": TEXT.replace("\n", "\r\n"),
    "lines of old": TEXT.replace("\n", "\r"),
    "comments": f"# a robot\n\n{HEADER}\n# it starts\n{BODY}# it ends\n",
    "a header in a comment": f"# {TEXT}",
    "a row of commas": f"{TEXT}{',' * (len(COLUMNS) - 1)}\n",
    "empty rows": f"\n{TEXT}\n \n",
    "quotes": "\n".join('"' + line.replace(",", '","') + '"' for line in TEXT.splitlines()),
    "quotes around names": "'" + HEADER.replace(",", "','") + f"'\n{BODY}",
    "capitals": f"{HEADER.upper()}\n{BODY}",
    "packed": gzip.compress(TEXT.encode()),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_csv_is_read_however_it_was_written(tmp_path: Path, case: str) -> None:
    content = FILES[case] if isinstance(FILES[case], bytes) else FILES[case].encode()
    path = tmp_path / ("LOG.CSV.GZ" if case == "packed" else "LOG.CSV")
    path.write_bytes(content)
    assert_same(load_log(path, ROBOT), ARM)


def test_the_type_of_a_column_is_that_of_all_of_its_values(tmp_path: Path) -> None:
    long = make_log(ROBOT.arm_joints("left"), duration=40)
    effort = np.where(long.time > 35, 0.5, 0.0)  # whole numbers in the first megabyte
    (tmp_path / "log.csv").write_text(csv_text({**columns_of(long), f"effort.{long.joints[0]}": effort}))
    read = load_log(tmp_path / "log.csv", ROBOT)
    assert read.effort is not None
    np.testing.assert_array_equal(read.effort[:, 0], effort)


@pytest.mark.parametrize("name", ["index", "", "Unnamed: 0"])
def test_a_column_that_numbers_no_rows_is_unknown(tmp_path: Path, name: str) -> None:
    (tmp_path / "log.csv").write_text(csv_text({name: np.sin(INDEX), **COLUMNS}))
    assert f"unknown column {name!r}" in refusal(tmp_path / "log.csv")


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("time_s,time_s\n0,0\n")
    assert refusal(path) == "log.csv: column 'time_s' is there twice"


def test_columns_that_pandas_adds_are_passed_over(tmp_path: Path) -> None:
    columns = columns_of(make_log(ROBOT.commands[:7]))
    path = write_columns(tmp_path / "log.parquet", {**columns, "__index_level_0__": np.arange(len(columns["time_s"]))})
    assert load_log(path, ROBOT).joints == ROBOT.commands[:7]


def test_suffixes_may_have_capitals(tmp_path: Path) -> None:
    assert_same(load_log(write_columns(tmp_path / "LOG.PARQUET", COLUMNS), ROBOT), ARM)


def test_numbers_of_any_type_are_numbers(tmp_path: Path) -> None:
    position = ARM.position[:, 0]
    for values in (pa.array(position).dictionary_encode(), position.astype(np.float32)):
        path = write_columns(tmp_path / "log.parquet", {**COLUMNS, f"position.{ARM.joints[0]}": values})
        assert_same(load_log(path, ROBOT), ARM)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"time_s\n0.0\n", "columns must be separated by commas"),
        (b"0.0,0.1\n0.1,0.1\n", "the first row holds numbers: it must hold the names of the columns"),
        (b"time_s,a\n0.0,0.1\n0.1\n", "not a CSV file with a value for each column: row 1 has 1 of 2"),
        (b"time_s,command.x\ns,rad\n0.0,0.1\n", "'time_s' holds values of type string: must be numbers; row 0 has 's'"),
        (b"# nothing else\n", "not a CSV file (it has no rows)"),
        (b"time_s,a\n\0\0\n", "not a CSV file (holds bytes of zero)"),
        ("time_s,Gelenkstärke\n0.0,0.1\n".encode("latin-1"), "not a CSV file in UTF-8"),
    ],
)
def test_csv_files_of_another_kind_are_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    assert expected in refusal(path)


def test_csv_cells_without_a_number_are_named(tmp_path: Path) -> None:
    columns = columns_of(ARM)
    lines = [
        ",".join(columns),
        *(",".join(f"{v:.9g}" for v in row) for row in np.stack(list(columns.values()), axis=1)),
    ]
    cells = lines[13].split(",")
    cells[list(columns).index(f"position.{ARM.joints[3]}")] = ""
    (tmp_path / "log.csv").write_text("\n".join([*lines[:13], ",".join(cells), *lines[14:]]))
    assert f"row 12: position of {ARM.joints[3]} is nan (1 such in all)" in refusal(tmp_path / "log.csv")
