"""The report of a fit: one HTML file with errors, parameters and the motion of every joint."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dexsim import __version__
from dexsim.report import page
from real2sim.results.judgement import Judged
from real2sim.results.outcome import COLUMNS, NOMINAL, TUNED, Outcome, joint_rows, parameter_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WINDOW_S = 12.0
COLOURS = {NOMINAL: "#1f77b4", TUNED: "#d62728", "random search": "#9467bd"}


def write_report(path: Path, outcome: Outcome) -> None:
    """Write the report.

    Args:
        path: the HTML file.
        outcome: a fit, judged.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    log = outcome.problem.log
    parts = [
        f"<p>Log <code>{html.escape(log.name)}</code>, {log.duration:.1f} s at {log.measurement_hz:.0f} rows/s, SHA-256"
        f" <code>{log.digest[:16]}</code>. dexsim {__version__}.</p>",
        "<h2>Errors</h2><p>Mean squared error of the position over all joints, rad².</p>",
        _errors(outcome),
        page.image(_joint_errors(outcome), "error of each joint"),
        "<h2>Search</h2>",
        page.image(_curve(outcome), "error while searching"),
        "<h2>Parameters</h2>" + _account(outcome),
        page.image(_sensitivity(outcome), "sensitivity of joints to parameters"),
        _folded("All parameters", page.table([x.replace("_", " ") for x in COLUMNS], parameter_rows(outcome))),
        _folded("Root mean square error of each joint, mrad", page.table(*joint_rows(outcome))),
        *_sections(outcome),
    ]
    page.write_page(path, f"Real to sim: {log.name}", parts)


def _errors(outcome: Outcome) -> str:
    logs = ["fit: " + outcome.judged[0].log.name, *("held out: " + each.log.name for each in outcome.of("heldout"))]
    rows = [(name, *(f"{each.total(name):.3g}" for each in outcome.judged)) for name in outcome.sets]
    speed = outcome.speed
    note = f"<p>Fitted in {outcome.took:.0f} s; {outcome.fit.robot_seconds:,.0f} robot-seconds were simulated"
    if speed is not None:
        note += f", {speed.replay:,.0f} a second, {speed.replay / speed.bare:.2f} of the bare batch"
    return page.table(("constants", *logs), rows) + note + ".</p>"


def _account(outcome: Outcome) -> str:
    determined = outcome.confidence.determined
    doubts = [outcome.effort_doubt] if outcome.effort_doubt else []
    doubts += [f"{joint} is not reproduced: {1e3 * error:.3g} mrad" for joint, error in outcome.astray]
    return (
        f"<p>{determined.sum()} of {len(determined)} parameters are determined by the log. The others are not, for the "
        "reason that is given: where only its prior tells one, it is where the search began. Intervals are 95%, from "
        "the log, the prior, and what physics steps and the model are off by, which is most of them. The last columns "
        "say how far the position of the joint that it moves most changes, for 10% of a positive parameter or a "
        "hundredth of the bounds of another.</p>"
    ) + "".join(f"<p><b>{html.escape(doubt)}.</b></p>" for doubt in doubts)


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>{text}</details>"


def _joint_errors(outcome: Outcome) -> bytes:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(outcome.judged), figsize=(10, 6), layout="constrained")
    for ax, judged in zip(np.atleast_1d(axes), outcome.judged, strict=True):
        places = np.arange(len(judged.log.joints))
        for number, name in enumerate(judged.names):
            ax.plot(np.sqrt(judged.of(name)) * 1e3, places, "o", color=COLOURS[name], label=name, zorder=number)
        ax.set(xscale="log", xlabel="root mean square error, mrad", title=judged.log.name, yticks=places)
        ax.set_yticklabels(judged.log.joints, fontsize=7)
        ax.invert_yaxis()  # its own joints, from the top
        ax.grid(alpha=0.3)
    figure.legend(*np.atleast_1d(axes)[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return page.png(figure)


def _curve(outcome: Outcome) -> bytes:
    from matplotlib import pyplot

    figure, ax = pyplot.subplots(figsize=(8, 3.5), layout="constrained")
    steps = outcome.fit.steps
    for stage in sorted({step.stage for step in steps}):
        own = [step for step in steps if step.stage == stage]
        ax.plot([s.robot_seconds for s in own], [s.mse for s in own], "o-", label=f"{stage + 1}: {own[0].method}")
    if outcome.ranking is not None:
        ax.axhline(outcome.ranking.error(0.0), color=COLOURS["random search"], ls="--", label="random search, best")
    ax.set(yscale="log", xlabel="robot-seconds simulated", ylabel="rad², on what a stage simulates")
    ax.grid(alpha=0.3)
    ax.legend()
    return page.png(figure)


def _sections(outcome: Outcome) -> list[str]:
    parts = []
    for number, judged in enumerate(outcome.judged):
        kind = "Fit" if number == 0 else "Held out"
        parts.append(f"<h2>{kind}: {html.escape(judged.log.name)}</h2><p>{WINDOW_S:g} s around the largest error.</p>")
        for joint, name in enumerate(judged.log.joints):
            parts.append(page.image(_motion(judged, joint), f"{name}: command, real and simulated"))
    return parts


def _motion(judged: Judged, joint: int) -> bytes:
    """Command, real and simulated motion of a joint, and the error over the whole log below."""
    from matplotlib import pyplot

    log = judged.log
    figure, (upper, lower) = pyplot.subplots(
        2, 1, figsize=(9, 3.6), layout="constrained", height_ratios=(2, 1)
    )  # fmt: skip
    error = judged.position[:, :, joint] - log.position[:, joint]
    # Nothing is left of a simulation that diverged.
    fit = np.nan_to_num(np.where(judged.rows, np.abs(error[judged.names.index(TUNED)]), 0.0))
    start = float(np.clip(log.time[int(np.argmax(fit))] - WINDOW_S / 2, 0.0, max(0.0, log.duration - WINDOW_S)))
    rows = (log.time >= start) & (log.time <= start + WINDOW_S)
    time = log.time[rows]
    upper.step(time, log.command[rows, joint], where="post", color="#888888", lw=0.8, label="command")
    upper.plot(time, log.position[rows, joint], color="black", lw=1.5, label="real")
    for number in (judged.names.index(NOMINAL), judged.names.index(TUNED)):
        name = judged.names[number]
        upper.plot(time, judged.position[number, rows, joint], color=COLOURS[name], lw=1, label=name)
        lower.plot(log.time, error[number] * 1e3, color=COLOURS[name], lw=0.5)
    _label(upper, lower, log.joints[joint], float(np.quantile(fit, 0.999)) * 1e3)
    return page.png(figure, dpi=80)


def _label(upper: Axes, lower: Axes, title: str, largest: float) -> None:
    upper.set_title(title, loc="left")
    upper.set(ylabel="rad")
    upper.legend(ncols=4, fontsize=7, loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    bound = max(3 * largest, 1e-3)
    lower.set(xlabel="s", ylabel="error, mrad", ylim=(-bound, bound))
    for axes in (upper, lower):
        axes.grid(alpha=0.3)


def _sensitivity(outcome: Outcome) -> bytes:
    """Joints by constants: how far a joint moves when its own parameters change."""
    from matplotlib import pyplot

    space, confidence = outcome.problem.space, outcome.confidence
    table = np.zeros((len(space.names), len(space.joints)))
    for p, parameter in enumerate(space.parameters):
        row = space.names.index(parameter.constant)
        table[row] = np.maximum(table[row], confidence.sensitivity[p])
    figure, ax = pyplot.subplots(figsize=(10, 5), layout="constrained")
    shown: Any = ax.imshow(np.log10(np.maximum(table * 1e3, 1e-4)), aspect="auto", cmap="viridis")
    ax.set_xticks(range(len(space.joints)), space.joints, rotation=90, fontsize=7)
    ax.set_yticks(range(len(space.names)), space.names, fontsize=8)
    bar = figure.colorbar(shown, ax=ax)
    bar.set_label("log10 of mrad, root mean square")
    return page.png(figure)
