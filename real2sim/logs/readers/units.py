"""Units that a log's metadata may state: of angles rad or degrees, of efforts N m, of times s or a part of it."""

from __future__ import annotations

import re

from real2sim.logs.readers.recording import KINDS, TIME

# The units of the Parquet format.
SI = {TIME: "s", "command": "rad", "position": "rad", "velocity": "rad/s", "effort": "N m"}
ANGLES = {"rad": "rad", "radian": "rad", "radians": "rad", "deg": "deg", "degree": "deg", "degrees": "deg", "°": "deg"}


def plain_unit(kind: str, unit: str) -> str | None:
    """A unit of a kind of columns in one spelling, "rad/s" as "rad"; None where it is another."""
    plain = unit.strip().lower()
    if kind == TIME:
        return "s" if plain in ("s", "second", "seconds") else None
    if kind == "effort":
        return "N m" if re.sub(r"[\s*·.]", "", plain) == "nm" else None
    return ANGLES.get(re.sub(r"/s$", "", plain)) if kind == "velocity" else ANGLES.get(plain)


def allowed_units(kind: str) -> str:
    """What `plain_unit` takes, for messages."""
    angles = SI[kind].replace("rad", "deg") if kind in KINDS[:3] else SI[kind]
    return " or ".join(dict.fromkeys((SI[kind], angles)))
