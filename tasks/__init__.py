"""What the robot learns: tasks, their rewards and initial states, training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexsim import settings
from dexsim.errors import unknown

if TYPE_CHECKING:
    from dexsim.env.env import Env
    from dexsim.env.perturbation import PerturbationSettings
    from dexsim.env.task import Task
    from dexsim.robots import RobotSpec


def _box_lift() -> tuple[type[Any], Callable[[Any, RobotSpec], Task]]:
    from tasks.box_lift import BoxLift, BoxLiftSettings

    return BoxLiftSettings, BoxLift


def _grasp_and_reach() -> tuple[type[Any], Callable[[Any, RobotSpec], Task]]:
    from tasks.grasp_and_reach import GraspAndReach, GraspAndReachSettings

    return GraspAndReachSettings, GraspAndReach


def _bimanual_handover() -> tuple[type[Any], Callable[[Any, RobotSpec], Task]]:
    from tasks.bimanual_handover import BimanualHandover, BimanualHandoverSettings

    return BimanualHandoverSettings, BimanualHandover


# Name of a task -> what imports the class of its settings and its own.
TASKS: dict[str, Callable[[], tuple[type[Any], Callable[[Any, RobotSpec], Task]]]] = {
    "box_lift": _box_lift,
    "grasp_and_reach": _grasp_and_reach,
    "bimanual_handover": _bimanual_handover,
}

# Settings that help a policy to learn and would flatter it when it is measured -> what they are outside training.
TRAINING_ONLY: dict[str, Any] = {"later_starts": (0.0, 0.0)}


def make_task(section: Mapping[str, Any], robot: RobotSpec, training: bool = False) -> Task:
    """The task that a config section describes; its key `name` chooses which."""
    values = dict(settings.plain(section))
    name = values.pop("name", None)
    if name not in TASKS:
        raise unknown(f"task.name = {name!r}: no such task", name, TASKS)
    settings_class, task = TASKS[name]()
    built = settings.build(settings_class, values, "task")
    return task(built if training else replace(built, **TRAINING_ONLY), robot)


def make_env(
    task: Mapping[str, Any],
    robot: Mapping[str, Any],
    backend: Mapping[str, Any] | None = None,
    randomization: Mapping[str, Any] | None = None,
    control: Mapping[str, Any] | None = None,
    num_envs: int = 1,
    seed: int = 0,
    dump_dir: Path | None = None,
    perturbation: PerturbationSettings | None = None,
    training: bool = False,
) -> Env:
    """Build a batched environment from config sections.

    Args:
        task: `name` and the task's own settings.
        robot: `dexsim.robots.RobotSettings`.
        backend: `dexsim.backends.BackendSettings`.
        randomization: `dexsim.env.randomization.RandomizationSettings`.
        control: `dexsim.control.actions.ControlSettings`.
        num_envs: how many copies.
        seed: of everything random.
        dump_dir: where a non-finite environment's state is written.
        perturbation: what disturbs the object, in an evaluation.
        training: whether `TRAINING_ONLY` settings of the task count.
    """
    from dexsim.backends import BackendSettings
    from dexsim.backends.make import make_backend
    from dexsim.control.actions import ControlSettings
    from dexsim.env.env import Env
    from dexsim.env.randomization import RandomizationSettings
    from dexsim.robots import load_robot

    spec = load_robot(robot)
    built = make_task(task, spec, training)
    engine = settings.build(BackendSettings, backend or {}, "backend")
    return Env(
        built,
        make_backend(built.scene(spec, engine.timestep), num_envs, engine),
        settings.build(ControlSettings, control or {}, "control"),
        settings.build(RandomizationSettings, randomization or {}, "randomization"),
        seed,
        dump_dir,
        perturbation,
    )
