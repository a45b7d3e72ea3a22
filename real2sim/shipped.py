"""Settings as the shipped configs have them, for whoever needs them without the command line."""

from __future__ import annotations

from typing import Any, TypeVar

from omegaconf import OmegaConf

from dexsim import settings
from dexsim.paths import cfg_dir

T = TypeVar("T")


def shipped(cls: type[T], config: str, section: str = "", **changes: Any) -> T:
    """Settings with the values of a shipped config.

    Args:
        cls: their dataclass.
        config: file in `cfg/`, without its suffix; what it takes from other files is not added.
        section: of the file, "" for all of it.
        changes: values that are to be others.
    """
    values = settings.plain(OmegaConf.load(cfg_dir() / f"{config}.yaml"))
    return settings.build(cls, {**(values[section] if section else values), **changes}, section)
