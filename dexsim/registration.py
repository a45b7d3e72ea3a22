"""Finds what the packages above this one offer, without importing them; makes their environments known to gymnasium."""

from __future__ import annotations

import importlib.util
import logging
from importlib import metadata
from pathlib import Path
from typing import Any

_GROUP = "dexsim.gymnasium"
_NAMESPACE = "dexsim"
# The folder in which this package lies, and those that came with it beside it: tasks, real2sim and so on.
# Links of single files are not followed: installers may keep the files themselves elsewhere.
_HOME = Path(__file__).parent.resolve().parent


def entry_points(group: str) -> dict[str, metadata.EntryPoint]:
    """Return the entry points of a group by name; the first distribution on the path that has a name wins."""
    # Not `metadata.entry_points(group=...)`: that keeps the last distribution of a name, not the first.
    found = [point for distribution in metadata.distributions() for point in distribution.entry_points]
    return {point.name: point for point in reversed(found) if point.group == group}


def load(point: metadata.EntryPoint) -> Any:
    """Import what an entry point names.

    Raises:
        UserError: It is not there; most often another folder or file of its package's name is found first.
    """
    package = _package(point)
    place, home = _place(package), _home(point)
    if home is not None and place != home:
        raise _in_the_way(place, package, f"dexsim's package {package!r}, {home},")
    try:
        return point.load()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise  # one of the modules that it imports itself
        raise _in_the_way(place, package, f"{point.value} ({point.group})") from None


def source(point: metadata.EntryPoint) -> Path:
    """Return the file of an entry point's module without importing it: a list of names must not wait for torch."""
    package, *parts = point.value.partition(":")[0].split(".")
    place = _home(point) or _place(package) or Path()
    if parts:
        return place.joinpath(*parts).with_suffix(".py")
    return place if place.is_file() else place / "__init__.py"


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
    for name in points:
        if f"{_NAMESPACE}/{name}" not in gymnasium.registry:
            where = f"{__name__}:{name}"  # so that `load` imports it: see `__getattr__`
            gymnasium.register(f"{_NAMESPACE}/{name}", entry_point=where, vector_entry_point=where)


def __getattr__(name: str) -> Any:
    """Return what builds an environment; to gymnasium each is an attribute of this module."""
    point = entry_points(_GROUP).get(name)
    if point is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return load(point)


def _package(point: metadata.EntryPoint) -> str:
    """Return the top-level package, or module, of an entry point."""
    return point.value.partition(":")[0].partition(".")[0]


def _home(point: metadata.EntryPoint) -> Path | None:
    """Return where the package of an entry point of ours lies, beside this one; None for those of others."""
    place = _HOME / _package(point)
    ours = point.dist is not None and point.dist.name == "dexsim"
    return place if ours and (place / "__init__.py").is_file() else None


def _place(package: str) -> Path | None:
    """Return the folder, or file, that Python takes for a package; None where it finds none."""
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # a module that was made by hand
        return None
    if spec is None:
        return None
    places = [*(spec.submodule_search_locations or ()), spec.origin or ""]
    return Path(places[0]).resolve() if spec.submodule_search_locations else Path(places[0])


def _in_the_way(place: Path | None, package: str, wanted: str) -> Exception:
    from dexsim.errors import UserError

    if place is None:
        return UserError(f"{wanted} cannot be imported: there is no package {package!r} on the path of modules")
    return UserError(f"{place} is in the way of {wanted} which has the same name: rename it, or start from elsewhere")
