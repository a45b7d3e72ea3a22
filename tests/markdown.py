"""The guides of the project, and the code in them."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Fence:
    """A fenced block of code.

    Attributes:
        language: the first word after the fence, "" for none.
        file: the second: which file it is the content of, "" for none.
        text: what it holds.
        line: where that begins in the guide.
    """

    language: str
    file: str
    text: str
    line: int


def guides() -> list[Path]:
    """The READMEs of the project and of its packages, and what a contributor reads."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("[a-z]*/README.md"))]


def fences(text: str) -> list[Fence]:
    found: list[Fence] = []
    for match in re.finditer(r"^```([^\n`]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        language, file = (*match[1].split(), "", "")[:2]
        found.append(Fence(language, file, match[2], text[: match.start(2)].count("\n") + 1))
    return found


def indented(text: str) -> list[Fence]:
    """Blocks of code that are set in by four spaces instead."""
    outside = re.sub(r"^```.*?^```$", lambda match: "\n" * match[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)
    found = re.finditer(r"(?<=\n\n)(?: {4}.*\n)+", outside)
    return [Fence("", "", textwrap.dedent(m[0]), outside[: m.start()].count("\n") + 1) for m in found]


def links(text: str) -> list[str]:
    """Where the links and pictures of a guide lead, but for the web."""
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
