"""Pieces of a report: one HTML file with its pictures inside."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexsim.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.3rem .8rem;border-bottom:1px solid #ddd;text-align:left}"
    "img,video{max-width:100%}code{background:#f3f3f3;padding:0 .2rem}"
)


def write_page(path: Path, title: str, parts: Iterable[str]) -> None:
    """Write a page.

    Args:
        path: The HTML file.
        title: Its heading.
        parts: HTML, one below the other.
    """
    head = f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"
    atomic_write(path, "\n".join([head, f"<h1>{html.escape(title)}</h1>", *parts]))


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table of texts."""
    lines = ["<table><tr>" + "".join(f"<th>{html.escape(name)}" for name in header)]
    lines += ["<tr>" + "".join(f"<td>{html.escape(str(cell))}" for cell in row) for row in rows]
    return "\n".join(lines) + "</table>"


def image(png: bytes, text: str) -> str:
    """A picture, with what stands in its place for those who cannot see it."""
    return f"<img alt='{html.escape(text, quote=True)}' src='data:image/png;base64,{base64.b64encode(png).decode()}'>"


def video(path: Path) -> str:
    """A video file."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f"<video controls autoplay loop muted src='data:video/mp4;base64,{data}'></video>"


def png(figure: Figure, dpi: int = 110) -> bytes:
    """A figure of matplotlib as a PNG; it is closed."""
    from matplotlib import pyplot

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    pyplot.close(figure)
    return buffer.getvalue()
