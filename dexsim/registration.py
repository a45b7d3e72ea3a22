"""Finds what the packages above this one offer, without importing them; makes their environments known to gymnasium."""

from __future__ import annotations

import importlib.util
import logging
from importlib import metadata
from pathlib import Path

_GROUP = "dexsim.gymnasium"
_NAMESPACE = "dexsim"


def entry_points(group: str) -> dict[str, metadata.EntryPoint]:
    """Return the entry points of a group by name; the first distribution on the path that has a name wins."""
    # Not `metadata.entry_points(group=...)`: that keeps the last distribution of a name, not the first.
    found = [point for distribution in metadata.distributions() for point in distribution.entry_points]
    return {point.name: point for point in reversed(found) if point.group == group}


def source(point: metadata.EntryPoint) -> Path:
    """Return the file of an entry point's module without importing it: a list of names must not wait for torch."""
    package, *parts = point.value.partition(":")[0].split(".")
    spec = importlib.util.find_spec(package)
    if spec is None:
        return Path()
    # A package without an `__init__.py` has places, but no file.
    files = [Path(place, *parts).with_suffix(".py") for place in spec.submodule_search_locations or () if parts]
    return next((file for file in files if file.is_file()), Path(spec.origin or ""))


def task_configs() -> dict[str, Path]:
    """Return the configs of tasks from other packages: each lies beside the module of its task."""
    files = {name: source(point).with_name(f"{name}.yaml") for name, point in entry_points("dexsim.tasks").items()}
    return {name: file for name, file in files.items() if file.is_file()}


def offer_tasks() -> None:
    """Offer Hydra the configs of tasks from other packages: `task=push` is composed like a task of this repository.

    One that cannot be read is left out with a warning; it is no reason not to run other tasks.
    """
    from hydra.core.config_store import ConfigStore

    from dexsim import settings
    from dexsim.errors import UserError

    for name, file in task_configs().items():
        try:
            ConfigStore.instance().store(group="task", name=name, node=settings.read(file))
        except UserError as error:
            logging.getLogger(__name__).warning("task %s is left out: %s", name, error)


def register_environments() -> None:
    """Register what the entry points of the group `dexsim.gymnasium` name; nothing where gymnasium is not installed.

    An entry point "BoxLift-v0 = tasks.gym:box_lift" becomes "dexsim/BoxLift-v0". What it names builds a single
    environment, or, given `num_envs`, that many at once; it is imported when the first one is made.
    """
    points = entry_points(_GROUP)
    if not points:
        return
    try:
        import gymnasium
    except ImportError:
        return
    for name, point in points.items():
        if f"{_NAMESPACE}/{name}" not in gymnasium.registry:
            gymnasium.register(f"{_NAMESPACE}/{name}", entry_point=point.value, vector_entry_point=point.value)
