"""Finds tasks by name and makes environments of them.

A task is found by an entry point of the group `dexsim.tasks`, so that a package outside this repository can bring one:
`push = "my_package.push:Push"` names the class of a `dexsim.env.task.Task`, whose config is `push.yaml` beside its
module (that of a task of this package is in `cfg/task`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from dexsim import settings
from dexsim.errors import require, unknown
from dexsim.registration import entry_points, load, task_configs
from dexsim.robots import with_content

if TYPE_CHECKING:
    from dexsim.backends.base import BackendSettings
    from dexsim.control.actions import ControlSettings
    from dexsim.env.env import Env
    from dexsim.env.perturbation import PerturbationSettings
    from dexsim.env.randomization import RandomizationSettings
    from dexsim.env.task import Task
    from dexsim.robots import RobotSpec
    from dexsim.scene import Scene

Section = Mapping[str, Any]

# Settings that help a policy to learn and would flatter it when it is measured -> what they are outside training.
TRAINING_ONLY: dict[str, Any] = {"later_starts": (0.0, 0.0)}


@cache
def task_class(name: str) -> type[Task]:
    """The class of a task.

    Raises:
        UserError: for a name that no entry point has.
    """
    points = entry_points("dexsim.tasks")
    if name not in points:
        raise unknown(f"task.name = {name!r}: no such task", name, points)
    return load(points[name])


def task_names() -> list[str]:
    """The tasks that are installed."""
    return sorted(entry_points("dexsim.tasks"))


@dataclass(frozen=True, kw_only=True)
class EnvSettings:
    """What makes an environment: one section each, as in the configs; `dexsim train` and the others share them.

    Attributes:
        task: `name` and the task's own settings.
        robot: `dexsim.robots.RobotSettings`.
        backend: `dexsim.backends.BackendSettings`, or those of the simulator that it names.
        randomization: `dexsim.env.randomization.RandomizationSettings`.
        control: `dexsim.control.actions.ControlSettings`.
    """

    task: dict[str, Any]
    robot: dict[str, Any]
    backend: dict[str, Any]
    randomization: dict[str, Any]
    control: dict[str, Any]

    def with_content(self) -> Self:
        """The same with the content of the files that it names, whatever becomes of them.

        Raises:
            UserError: for a file that is not there or not what it should be.
        """
        task = task_class(self.task["name"]).with_content(self.task)
        return replace(self, robot=with_content(self.robot), task=task)

    def make(
        self,
        num_envs: int,
        seed: int = 0,
        dump_dir: Path | None = None,
        perturbation: PerturbationSettings | None = None,
        training: bool = False,
    ) -> Env:
        """Build the environment.

        Args:
            num_envs: how many copies.
            seed: of everything random.
            dump_dir: where a non-finite environment's state is written.
            perturbation: what disturbs the object, in an evaluation.
            training: whether `TRAINING_ONLY` settings of the task count.
        """
        from dexsim.backends.make import make_backend
        from dexsim.env.env import Env

        parts = self._parts(training)
        backend = make_backend(parts.scene, num_envs, parts.engine)
        return Env(parts.task, backend, parts.control, parts.randomization, seed, dump_dir, perturbation)

    def check(self, training: bool = False) -> None:
        """Refuse what cannot be built, as far as that shows without a simulator.

        Args:
            training: as of `make`.

        Raises:
            UserError: for a name, a file or a value that cannot be.
        """
        parts = self._parts(training)
        parts.control.substeps(parts.scene.timestep)

    def _parts(self, training: bool) -> _Parts:
        from dexsim.backends.make import device_of, least_values, load_settings
        from dexsim.control.actions import ControlSettings
        from dexsim.env.drives import DriveDraws
        from dexsim.env.randomization import RandomizationSettings
        from dexsim.robots import load_robot

        robot = load_robot(self.robot)
        engine = load_settings(self.backend)
        task = make_task(self.task, robot, device_of(engine), training)
        control = settings.load(ControlSettings, "control/relative", self.control)
        randomization = settings.load(RandomizationSettings, "randomization/none", self.randomization)
        task.check(randomization)
        for name, least in least_values(engine).items():
            drawn = getattr(randomization, name)
            allowed = f"null, or from {least:g} on with backend.timestep = {engine.timestep:g}"
            require(drawn is None or drawn[0] >= least, f"randomization.{name}", drawn, allowed)
        scene = task.scene(robot, engine.timestep)
        if DriveDraws(randomization, robot).late:
            scene = replace(scene, drive_dynamics=True)
        return _Parts(task, scene, engine, control, randomization)


class _Parts(NamedTuple):
    """What an environment is made of."""

    task: Task
    scene: Scene
    engine: BackendSettings
    control: ControlSettings
    randomization: RandomizationSettings


def make_env(
    task: Section,
    robot: Section,
    backend: Section | None = None,
    randomization: Section | None = None,
    control: Section | None = None,
    num_envs: int = 1,
    seed: int = 0,
    dump_dir: Path | None = None,
    perturbation: PerturbationSettings | None = None,
    training: bool = False,
) -> Env:
    """Build a batched environment: see `EnvSettings` and its `make`. Keys left out are as in the configs that ship."""
    sections = [dict(settings.plain(section or {})) for section in (task, robot, backend, randomization, control)]
    names = ("task", "robot", "backend", "randomization", "control")
    chosen = EnvSettings(**dict(zip(names, sections, strict=True)))
    return chosen.make(num_envs, seed, dump_dir, perturbation, training)


def make_task(section: Section, robot: RobotSpec, device: Any = None, training: bool = False) -> Task:
    """The task that a config section describes; its key `name` chooses which, keys left out are as in its config."""
    given = dict(settings.plain(section))
    name = given.pop("name", None)
    kind = task_class(name)
    values = {**shipped_section(name), **given}
    built = settings.build(kind.Settings, values, "task")
    return kind(built if training else _without_help(built), robot, device)  # type: ignore[call-arg]


def shipped_section(name: str) -> dict[str, Any]:
    """The config of a task as it ships, without its name."""
    files = task_configs()
    values = settings.shipped("task", name) if name not in files else settings.read(files[name])
    values.pop("name", None)
    return values


def _without_help(built: Any) -> Any:
    """Settings of a task outside training."""
    return replace(built, **{key: value for key, value in TRAINING_ONLY.items() if hasattr(built, key)})
