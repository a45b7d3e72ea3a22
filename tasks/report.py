"""A report of a training run and its evaluation: one HTML file with its curve, table and pictures inside."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
from pathlib import Path
from typing import Dict, List, Mapping

from dexsim import __version__
from dexsim.runs import atomic_write

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.3rem .8rem;border-bottom:1px solid #ddd;text-align:left}"
    "img,video{max-width:100%}code{background:#f3f3f3;padding:0 .2rem}"
)


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
    curve = base64.b64encode(curve_png(training / "curve.csv")).decode()
    video = evaluation / "video.mp4"
    parts = [
        f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>",
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{speed['frames']['value']:,.0f} environment steps in {speed['wall_time']['value'] / 60:.1f} minutes, "
        f"{speed['steps_per_second']['value']:,.0f} steps a second. dexsim {__version__}.</p>",
        "<h2>Evaluation</h2>",
        _table(results),
        _video(video) if video.is_file() else "",
        f"<h2>Training</h2><img alt='learning curve' src='data:image/png;base64,{curve}'>",
        f"<p>Checkpoint: <code>{html.escape(str(training / 'checkpoints' / 'last.pt'))}</code></p>",
    ]
    atomic_write(path, "\n".join(parts))


def is_rate(name: str) -> bool:
    """Whether a metric of an evaluation is a share of its episodes."""
    return name in ("success", "picked_up") or name.startswith("stage_")


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
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    pyplot.close(figure)
    return buffer.getvalue()


def _column(rows: List[Dict[str, str]], name: str) -> List[float]:
    return [float(row.get(name) or "nan") for row in rows]


def _table(results: Mapping[str, Mapping]) -> str:
    lines = ["<table><tr><th>metric<th>value<th>95% interval<th>n"]
    for name, entry in results.items():
        form = number_format(name)
        value, low, high = (
            "-" if number is None else form.format(number)
            for number in (entry["value"], *(entry["interval"] or (None, None)))
        )
        bounds = f"{low} to {high}"
        count = "-" if entry["n"] is None else entry["n"]
        lines.append(f"<tr><td>{html.escape(name.replace('_', ' '))}<td>{value}<td>{bounds}<td>{count}")
    return "\n".join(lines) + "</table>"


def _video(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f"<video controls autoplay loop muted src='data:video/mp4;base64,{data}'></video>"
