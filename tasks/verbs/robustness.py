"""Success against the size of a disturbing force: the sweep behind `dexsim evaluate forces=[knock,push]`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from dexsim.env.perturbation import PerturbationSettings
from dexsim.files import atomic_path
from dexsim.report import terminal
from dexsim.runs import RunFolder, wilson


class Point(NamedTuple):
    """Success under one disturbance: `succeeded` of `episodes`."""

    kind: str
    magnitude: float
    succeeded: int
    episodes: int


def sweep(
    kinds: Sequence[str],
    magnitudes: Sequence[float],
    successes: Callable[[PerturbationSettings], list[bool]],
    undisturbed: list[bool],
    run: RunFolder,
) -> list[Point]:
    """Evaluate each kind at each magnitude; write a result for each, and `forces.png`.

    Args:
        kinds: of `dexsim.env.perturbation.KINDS`.
        magnitudes: N.
        successes: runs the same episodes under a disturbance and says which succeeded.
        undisturbed: which succeeded without one.
        run: where results go.
    """
    points: list[Point] = []
    for kind in kinds:
        points.append(Point(kind, 0.0, sum(undisturbed), len(undisturbed)))
        for magnitude in sorted(set(magnitudes) - {0.0}):
            outcome = successes(PerturbationSettings(kind, magnitude))
            point = Point(kind, magnitude, sum(outcome), len(outcome))
            points.append(point)
            interval = wilson(point.succeeded, point.episodes)
            run.result(
                f"success_{kind}_{magnitude:g}N", point.succeeded / point.episodes, "1", point.episodes, interval
            )
    _print(points)
    _plot(points, run.path / "forces.png")
    return points


def _print(points: Sequence[Point]) -> None:
    from rich.table import Table

    magnitudes = sorted({point.magnitude for point in points})
    table = Table("success", *(f"{magnitude:g} N" for magnitude in magnitudes), title="under a force on the object")
    for kind in dict.fromkeys(point.kind for point in points):
        rates = {p.magnitude: f"{p.succeeded / p.episodes:.1%}" for p in points if p.kind == kind}
        table.add_row(kind, *(rates[magnitude] for magnitude in magnitudes))
    terminal.console().print(table)


def _plot(points: Sequence[Point], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    kinds: dict[str, list[Point]] = {}
    for point in points:
        kinds.setdefault(point.kind, []).append(point)
    for kind, row in kinds.items():
        rates = [point.succeeded / point.episodes for point in row]
        bounds = [wilson(point.succeeded, point.episodes) for point in row]
        below = [max(0.0, rate - low) for rate, (low, _) in zip(rates, bounds, strict=True)]
        above = [max(0.0, high - rate) for rate, (_, high) in zip(rates, bounds, strict=True)]
        axes.errorbar([point.magnitude for point in row], rates, [below, above], marker="o", capsize=3, label=kind)
    axes.set(xlabel="force on the object (N)", ylabel="success", ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
