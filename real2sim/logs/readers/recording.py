"""What a reader of logs makes of a file: its columns and its metadata, as they stand there.

The names of the columns are those of the Parquet format (`real2sim.logs.files`). What they hold is checked afterwards,
in the same way for all of them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

TIME = "time_s"
KINDS = ("command", "position", "velocity", "effort")
# Characters of a value, and names of a list, in a message.
LONGEST, MOST_LISTED = 120, 16


@dataclass(frozen=True)
class Recording:
    """Columns of a file.

    Attributes:
        path: The file.
        columns: (T,) float64 each: `time_s`, `command.<joint>`, `position.<joint>` ...
        metadata: The Parquet format's keys, as far as they are known.
        name: What to call it.
    """

    path: Path
    columns: dict[str, np.ndarray]
    metadata: Mapping[str, str] = field(default_factory=dict)
    name: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of the file, in hexadecimal."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def parse_json(text: str | bytes) -> Any:
    """What a text says in JSON; raises ValueError where it is none, also for brackets beyond any depth."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def shown(value: object) -> str:
    """A value of a file for a message, not longer than a line bears."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def listed(names: Iterable[str]) -> str:
    """Names of a file for a message, the first ones of many, each in one line."""
    first = [shown(name)[1:-1] for name in itertools.islice(names, MOST_LISTED + 1)]
    return ", ".join([*first[:MOST_LISTED], *(["..."] if len(first) > MOST_LISTED else [])]) or "none"


def is_file(path: Path) -> bool:
    """Whether a path leads to a file; not where no file can have such a name."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, a byte of zero, a folder that may not be looked into
        return False
