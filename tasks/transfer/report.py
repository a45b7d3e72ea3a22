"""The table of `dexsim transfer`: CSV, metrics, what is printed, and a page with a plot."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dexsim import __version__
from dexsim.files import atomic_write
from dexsim.report import page, terminal
from dexsim.rl.evaluation import Episode
from dexsim.runs import RunFolder, wilson
from tasks.transfer.cells import HIDDEN, NOMINAL, TUNED, Outcome
from tasks.verbs.evaluate import summarize, write_episodes
from tasks.verbs.report import is_rate, number_format

KINDS = (NOMINAL, HIDDEN, TUNED)
COLORS = {NOMINAL: "black", HIDDEN: "tab:blue", TUNED: "tab:orange"}
NOTE = (
    "Each cell has the same episodes. Intervals are 95% Wilson intervals; one over several robots takes their episodes "
    "together and so speaks of these robots, not of others."
)


@dataclass(frozen=True)
class Group:
    """Cells of one engine and one kind of robots, taken together.

    Attributes:
        block: label of the checkpoint.
        engine: name of the row.
        kind: of the robots.
        outcomes: one a robot.
    """

    block: str
    engine: str
    kind: str
    outcomes: Sequence[Outcome]

    @property
    def episodes(self) -> list[Episode]:
        """Of all its robots."""
        return [episode for outcome in self.outcomes for episode in outcome.episodes]

    @property
    def name(self) -> str:
        """What it is called, with how many robots it has."""
        return f"{self.kind} robot" if self.kind == NOMINAL else f"{self.kind} robots ({len(self.outcomes)})"


def write(outcomes: Sequence[Outcome], left_out: Mapping[str, str], seed: int, run: RunFolder) -> None:
    """Write all of it into a run folder, and print the tables.

    Args:
        outcomes: of the cells, in the order of the table.
        left_out: row -> why.
        seed: of the episodes.
        run: takes the outputs.
    """
    groups = _groups(outcomes)
    _record(groups, run)
    atomic_write(run.path / "transfer.csv", _csv(outcomes))
    write_episodes(run.path / "episodes.parquet", seed, _episodes(outcomes))
    for block in dict.fromkeys(outcome.place.block for outcome in outcomes):
        own = [group for group in groups if group.block == block]
        _print(f"{block}: success [95% interval], %", *_short_table(own))
        for kind in KINDS:
            mine = [group for group in own if group.kind == kind]
            if mine:
                _print(f"{block}: where success is lost, {mine[0].name}", *_turned(*_loss_table(mine)))
    _write_page(outcomes, groups, left_out, run)


def _groups(outcomes: Sequence[Outcome]) -> list[Group]:
    found: dict[tuple[str, str, str], list[Outcome]] = {}
    for outcome in outcomes:
        place = outcome.place
        found.setdefault((place.block, place.engine, place.column.kind), []).append(outcome)
    return [Group(*key, rows) for key, rows in found.items()]


def _record(groups: Sequence[Group], run: RunFolder) -> None:
    """Metrics: success of each group, and of all that is not as trained, which leaves out what was fitted."""
    several = len({group.block for group in groups}) > 1
    beyond: list[Episode] = []
    for group in groups:
        name = f"success_{group.engine}_{group.kind}"
        _result(f"{group.block}/{name}" if several else name, group.episodes, run)
        if group.kind != TUNED:
            others = (each for each in group.outcomes if group.kind != NOMINAL or not each.place.as_trained)
            beyond += [episode for each in others for episode in each.episodes]
    if beyond:
        _result("success_beyond", beyond, run)


def _result(name: str, episodes: Sequence[Episode], run: RunFolder) -> None:
    count = sum(bool(episode["success"]) for episode in episodes)
    run.result(name, count / len(episodes), "1", len(episodes), wilson(count, len(episodes)))


def _csv(outcomes: Sequence[Outcome]) -> str:
    """A line a cell, with mean, samples and interval of every metric."""
    lines = []
    for outcome in outcomes:
        place = outcome.place
        line: dict[str, Any] = {"checkpoint": place.block, "engine": place.engine, "robot": place.column.name}
        line |= {"kind": place.column.kind}
        for name, value, _, n, (low, high) in summarize(outcome.episodes):
            line |= {name: value, f"{name}.n": n, f"{name}.low": low, f"{name}.high": high}
        lines.append({**line, "nonfinite": outcome.nonfinite, "seconds": round(outcome.seconds, 2)})
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(dict.fromkeys(key for line in lines for key in line)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


def _episodes(outcomes: Sequence[Outcome]) -> list[Episode]:
    """A row an episode of every cell, all with the same keys."""
    rows = [
        {"checkpoint": place.block, "engine": place.engine, "robot": place.column.name, **episode}
        for outcome in outcomes
        for place in [outcome.place]
        for episode in outcome.episodes
    ]
    keys = dict.fromkeys(key for row in rows for key in row)
    return [{key: row.get(key) for key in keys} for row in rows]


def _short_table(groups: Sequence[Group]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: engines against kinds of robots, with the worst and the best of several."""
    found = {(group.engine, group.kind): group for group in groups}
    header, rows = [""], {group.engine: [group.engine] for group in groups}
    for kind in dict.fromkeys(group.kind for group in groups):
        first = next(group for group in groups if group.kind == kind)
        several = len(first.outcomes) > 1
        header += [first.name, *(["worst, best"] if several else [])]
        for engine, row in rows.items():
            group = found.get((engine, kind))
            row += ["-"] * (1 + several) if group is None else [_rate(group.episodes), *_spread(group)]
    return header, list(rows.values())


def _spread(group: Group) -> list[str]:
    rates = [100 * successes / n for successes, n in (outcome.success for outcome in group.outcomes)]
    return [f"{min(rates):.0f}, {max(rates):.0f}"] if len(rates) > 1 else []


def _success_table(outcomes: Sequence[Outcome]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: engines against robots."""
    columns = list(dict.fromkeys(outcome.place.column.name for outcome in outcomes))
    found = {(outcome.place.engine, outcome.place.column.name): _rate(outcome.episodes) for outcome in outcomes}
    engines = dict.fromkeys(outcome.place.engine for outcome in outcomes)
    rows = [[engine, *(found.get((engine, column), "-") for column in columns)] for engine in engines]
    return ["", *(column.replace("_", " ") for column in columns)], rows


def _rate(episodes: Sequence[Episode]) -> str:
    count, n = sum(bool(episode["success"]) for episode in episodes), len(episodes)
    low, high = wilson(count, n)
    return f"{100 * count / n:.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def _loss_table(groups: Sequence[Group]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: what each group reached, and how its joints and hands did."""
    summaries = [{name: value for name, value, *_ in summarize(group.episodes)} for group in groups]
    shown = [
        name
        for name in dict.fromkeys(name for summary in summaries for name in summary)
        if is_rate(name) or name.removeprefix("metric_").split("_")[0] in ("tracking", "measured", "slip")
    ]
    rows = []
    for group, summary in zip(groups, summaries, strict=True):
        values = [number_format(name).format(summary[name]) if name in summary else "-" for name in shown]
        rows.append([group.engine, group.name, *("-" if value == "nan" else value for value in values)])
    titles = (name.removeprefix("metric_").removeprefix("stage_").replace("_", " ") for name in shown)
    return ["", "robots", *titles], rows


def _turned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """The table with a column a group: it has too many figures for the width of a terminal."""
    first, *figures = zip(header, *rows, strict=True)
    return list(first), [list(figure) for figure in figures[1:]]


def _print(title: str, header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    from rich.table import Table

    table = Table(*header, title=title)
    for row in rows:
        table.add_row(*row)
    terminal.console().print(table)


def _write_page(
    outcomes: Sequence[Outcome], groups: Sequence[Group], left_out: Mapping[str, str], run: RunFolder
) -> None:
    parts = [f"<p>{html.escape(NOTE)} dexsim {__version__}.</p>"]
    parts += [f"<p>{html.escape(f'{row} is left out: {reason}')}</p>" for row, reason in left_out.items()]
    for block in dict.fromkeys(outcome.place.block for outcome in outcomes):
        mine = _of(outcomes, block)
        parts += [
            f"<h2>{html.escape(block)}</h2>",
            "<h3>Success [95% interval], %</h3>",
            page.table(*_success_table(mine)),
            page.image(_plot(mine), f"success of {block} on each engine and robot"),
            "<h3>Where it is lost</h3>",
            page.table(*_loss_table([each for each in groups if each.block == block])),
        ]
    page.write_page(run.path / "report.html", "Beyond the simulator it was trained in", parts)


def _of(outcomes: Sequence[Outcome], block: str) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.place.block == block]


def _plot(outcomes: Sequence[Outcome]) -> bytes:
    """Success of every cell with its interval: engines side by side, robots in their colours."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot()
    engines = list(dict.fromkeys(outcome.place.engine for outcome in outcomes))
    columns = list(dict.fromkeys(outcome.place.column.name for outcome in outcomes))
    for kind in KINDS:
        cells = [outcome for outcome in outcomes if outcome.place.column.kind == kind]
        if not cells:
            continue
        rates = [successes / n for successes, n in (cell.success for cell in cells)]
        bounds = [wilson(*cell.success) for cell in cells]
        below = [max(0.0, rate - low) for rate, (low, _) in zip(rates, bounds, strict=True)]
        above = [max(0.0, high - rate) for rate, (_, high) in zip(rates, bounds, strict=True)]
        width = 0.8 / len(columns)
        middle = (len(columns) - 1) / 2
        x = [
            engines.index(cell.place.engine) + width * (columns.index(cell.place.column.name) - middle)
            for cell in cells
        ]
        axes.errorbar(x, rates, [below, above], fmt="o", capsize=2, color=COLORS[kind], label=kind)
    axes.set_xticks(range(len(engines)), [engine.replace("_", " ") for engine in engines])
    axes.set(ylabel="success", ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3, axis="y")
    axes.legend(title="robots")
    return page.png(figure)
