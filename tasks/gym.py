"""The tasks as gymnasium environments.

Once dexsim is installed, `import dexsim` registers them (entry points of the group `dexsim.gymnasium`), and
`gymnasium.make_vec("dexsim/BoxLift-v0", num_envs=8)` or `gymnasium.make("dexsim/BoxLift-v0")` makes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from dexsim import settings
from dexsim.errors import require
from dexsim.robots.settings import SUFFIX
from dexsim.vector import SingleEnv, VectorEnv
from tasks import make_env
from tasks.registry import shipped_section

Section = Mapping[str, Any]


def _make(
    name: str,
    num_envs: int | None = None,
    robot: str | Section = "gr1t2",
    randomization: str | Section = "none",
    control: Section | None = None,
    task: Section | None = None,
    backend: Section | None = None,
    seed: int | None = None,
    render_mode: str | None = None,
    training: bool = False,
    max_episode_steps: int | None = None,
) -> SingleEnv | VectorEnv:
    """Build the environment of a task.

    Args:
        name: of the task, one of `tasks.task_names()`.
        num_envs: how many copies, stepped together; None for a single environment.
        robot: name of a file in `cfg/robot`, a robot's description file, or what `dexsim.robots.RobotSettings` takes.
        randomization: name of a file in `cfg/randomization`, or what `dexsim.env.randomization` takes.
        control: what differs from `cfg/control/relative.yaml`.
        task: what differs from the task's file in `cfg/task`.
        backend: what differs from `cfg/backend/mujoco.yaml`.
        seed: of the first `reset` that is given none; None for a random one.
        render_mode: "rgb_array", or None for no pictures.
        training: whether episodes may start in later stages (`later_starts`).
        max_episode_steps: an episode is cut off after so many steps, if it lasts longer. `gymnasium.make` sees to that
            itself.

    Raises:
        UserError: for a name or a value that cannot be.
    """
    copies = 1 if num_envs is None else num_envs
    require(copies >= 1, "num_envs", copies, "at least 1")
    limit = max_episode_steps
    require(limit is None or limit >= 1, "max_episode_steps", limit, "at least 1, or None")
    varied = settings.shipped("randomization", randomization) if isinstance(randomization, str) else randomization
    env = make_env(
        task={"name": name, **settings.merge(shipped_section(name), task or {})},
        robot=_robot(robot),
        backend=backend,
        randomization=varied,
        control=control,
        num_envs=copies,
        training=training,
    )
    if limit is not None:
        env.max_episode_length = min(limit, env.max_episode_length)
    return SingleEnv(env, seed, render_mode) if num_envs is None else VectorEnv(env, seed, render_mode)


def _robot(robot: str | Section) -> Section:
    """The config section of a robot."""
    if not isinstance(robot, str):
        return robot
    return {"name": robot} if robot.endswith(SUFFIX) else settings.shipped("robot", robot)


# "dexsim/BoxLift-v0", "dexsim/GraspAndReach-v0" and "dexsim/BimanualHandover-v0"; arguments as `_make` has them.
box_lift = partial(_make, "box_lift")
grasp_and_reach = partial(_make, "grasp_and_reach")
bimanual_handover = partial(_make, "bimanual_handover")
