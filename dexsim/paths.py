"""Where the shipped configs and assets lie: inside an installed package, or beside it in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def cfg_dir() -> Path:
    """Returns the folder of the Hydra configs."""
    return _data_dir("cfg")


def assets_dir() -> Path:
    """Returns the folder of the robot models, object sets and banks of initial states."""
    return _data_dir("assets")


def _data_dir(name: str) -> Path:
    packaged = _PACKAGE / f"_{name}"
    return packaged if packaged.is_dir() else _PACKAGE.parent / name
