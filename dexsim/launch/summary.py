"""What a sweep comes to: a table, and `sweep.csv` with every metric of every job."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexsim.errors import UserError
from dexsim.files import atomic_write
from dexsim.launch.job import Job
from dexsim.launch.overrides import key_of, value_of
from dexsim.report import terminal
from dexsim.runs import read_results

if TYPE_CHECKING:
    from rich.table import Table

logger = logging.getLogger(__name__)

_SHOWN = 5  # metrics in the table beside the objective
_FOLDER_WIDTH = len("2000-01-01_00-00-00")  # of the last column at least, which folds

Row = dict[str, Any]


def write_csv(path: Path, jobs: Sequence[Job]) -> None:
    """Writes a line a job: its overrides (`config.<key>`), status, metrics with n and interval, and run folder."""
    rows = [_row(job) for job in jobs]
    fixed = ("job", "status", "folder", "error")
    keys = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in fixed]
    keys.sort(key=lambda key: not key.startswith("config."))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, ["job", "status", *keys, "folder", "error"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic_write(path, buffer.getvalue())


def print_table(jobs: Sequence[Job]) -> None:
    """Prints the overrides that differ between the jobs, their status, main metrics and run folders.

    Beside the objective stand as many metrics as the terminal is wide enough for, 5 at most.
    """
    console = terminal.console()
    values = [_values(_results(job)) for job in jobs]
    for shown in range(_SHOWN, -1, -1) if jobs else ():
        names = ["job", "overrides", "status", *_main_metrics(jobs, values, shown)]
        rows = _cells(jobs, values, names[3:])
        widths = [_width(column) for column in zip(names, *rows, strict=True)]
        if shown == 0 or sum(widths) + _FOLDER_WIDTH + 3 * len(widths) + 4 <= console.width:
            console.print(_table(jobs, names, rows, widths))
            return


def _width(cells: Sequence[str]) -> int:
    return max(len(line) for cell in cells for line in cell.split("\n"))


def _cells(
    jobs: Sequence[Job], values: Sequence[Mapping[str, float | None]], metrics: Sequence[str]
) -> list[list[str]]:
    rows = []
    for job, overrides, found in zip(jobs, _varied(jobs), values, strict=True):
        cells = ["" if found.get(name) is None else f"{found[name]:.4g}" for name in metrics]
        rows.append([str(job.number), "\n".join(overrides), job.status, *cells])
    return rows


def _table(jobs: Sequence[Job], names: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> Table:
    from rich.table import Table

    table = Table()
    for name, width in zip(names, widths, strict=True):
        table.add_column(name, min_width=width)
    table.add_column("run folder", overflow="fold", min_width=_FOLDER_WIDTH)
    for job, row in zip(jobs, rows, strict=True):
        table.add_row(*row, job.folder or "")
    return table


def _row(job: Job) -> Row:
    row: Row = {"job": job.number, "status": job.status, "folder": job.folder, "error": job.error}
    row |= {f"config.{key_of(override)}": value_of(override) for override in job.overrides}
    for name, metric in _results(job).items():
        row[name] = metric["value"]
        if metric["n"] is not None:
            row[f"{name}.n"] = metric["n"]
        if metric["interval"] is not None:
            row[f"{name}.low"], row[f"{name}.high"] = metric["interval"]
    return row


def _results(job: Job) -> Mapping[str, Mapping[str, Any]]:
    try:
        return {} if job.folder is None else read_results(Path(job.folder))
    except UserError as error:  # one damaged file does not cost the table
        logger.warning("%s", error)
        return {}


def _values(results: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    return {name: metric["value"] for name, metric in results.items()}


def _main_metrics(jobs: Sequence[Job], values: Sequence[Mapping[str, float | None]], shown: int) -> list[str]:
    names = dict.fromkeys(name for found in values for name in found)
    objectives = [name for name in dict.fromkeys(job.objective for job in jobs) if name in names]
    return [*objectives, *[name for name in names if name not in objectives][:shown]]


def _varied(jobs: Sequence[Job]) -> list[list[str]]:
    common = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    return [[override for override in job.overrides if override not in common] for job in jobs]
