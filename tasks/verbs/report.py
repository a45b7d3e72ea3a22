"""A report of a training run and its evaluation: one HTML file with its curve, table and pictures inside."""

from __future__ import annotations

import csv
import html
import json
from collections.abc import Mapping
from pathlib import Path

from dexsim import __version__
from dexsim.report import page


def write_report(path: Path, title: str, training: Path, evaluation: Path) -> None:
    """Write the report.

    Args:
        path: The HTML file.
        title: Its heading.
        training: Run folder of `dexsim train`.
        evaluation: Run folder of `dexsim evaluate`; its video is embedded where there is one.
    """
    results = json.loads((evaluation / "result.json").read_text(encoding="utf-8"))
    speed = json.loads((training / "result.json").read_text(encoding="utf-8"))
    video = evaluation / "video.mp4"
    parts = [
        f"<p>{speed['frames']['value']:,.0f} environment steps in {speed['wall_time']['value'] / 60:.1f} minutes, "
        f"{speed['steps_per_second']['value']:,.0f} steps a second. dexsim {__version__}.</p>",
        "<h2>Evaluation</h2>",
        _table(results),
        page.video(video) if video.is_file() else "",
        "<h2>Training</h2>",
        page.image(curve_png(training / "curve.csv"), "learning curve"),
        f"<p>Checkpoint: <code>{html.escape(str(training / 'checkpoints' / 'last.pt'))}</code></p>",
    ]
    page.write_page(path, title, parts)


def is_rate(name: str) -> bool:
    """Whether a metric of an evaluation is a share of its episodes."""
    return name in ("success", "picked_up", "terminated") or name.startswith("stage_")


def number_format(name: str) -> str:
    """How the numbers of a metric of an evaluation are written."""
    return "{:.1%}" if is_rate(name) else "{:.3g}"


def curve_png(path: Path) -> bytes:
    """The learning curve of a `curve.csv` as a PNG: success and pick-up above, the reward's terms below."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    figure, (upper, lower) = pyplot.subplots(2, 1, figsize=(8, 6), sharex=True, layout="constrained")
    frames = [float(row["frame"]) / 1e6 for row in rows]
    for name in ("episode/success", "episode/picked_up"):
        upper.plot(frames, _column(rows, name), label=name.split("/")[1].replace("_", " "))
    for name in (key for key in rows[-1] if key.startswith("reward/")):
        lower.plot(frames, _column(rows, name), label=name.split("/")[1])
    upper.set(ylabel="share of episodes, exploring", ylim=(0, 1))
    lower.set(ylabel="reward of a step", xlabel="million environment steps")
    for axes in (upper, lower):
        axes.legend(loc="upper left")
        axes.grid(alpha=0.3)
    return page.png(figure)


def _column(rows: list[dict[str, str]], name: str) -> list[float]:
    return [float(row.get(name) or "nan") for row in rows]


def _table(results: Mapping[str, Mapping]) -> str:
    rows = []
    for name, entry in results.items():
        form = number_format(name)
        value, low, high = (
            "-" if number is None else form.format(number)
            for number in (entry["value"], *(entry["interval"] or (None, None)))
        )
        rows.append((name.replace("_", " "), value, f"{low} to {high}", "-" if entry["n"] is None else entry["n"]))
    return page.table(("metric", "value", "95% interval", "n"), rows)
