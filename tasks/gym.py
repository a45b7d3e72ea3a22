"""The tasks as gymnasium environments.

Once dexsim is installed, `import dexsim` registers them (entry points of the group `dexsim.gymnasium`), and
`gymnasium.make_vec("dexsim/BoxLift-v0", num_envs=8)` or `gymnasium.make("dexsim/BoxLift-v0")` makes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from dexsim import settings
from dexsim.vector import SingleEnv, VectorEnv
from tasks import make_env
from tasks.registry import shipped_section

Section = Mapping[str, Any]


def _make(
    name: str,
    num_envs: int | None = None,
    robot: str = "gr1t2",
    randomization: str | Section = "none",
    control: Section | None = None,
    task: Section | None = None,
    backend: Section | None = None,
    seed: int | None = None,
    render_mode: str | None = None,
    training: bool = False,
) -> SingleEnv | VectorEnv:
    """Build the environment of a task.

    Args:
        name: of the task, one of `tasks.task_names()`.
        num_envs: how many copies, stepped together; None for a single environment.
        robot: one of `dexsim.robots.ROBOTS`.
        randomization: name of a file in `cfg/randomization`, or what `dexsim.env.randomization` takes.
        control: what differs from `cfg/control/relative.yaml`.
        task: what differs from the task's file in `cfg/task`.
        backend: what differs from `cfg/backend/mujoco.yaml`.
        seed: of the first `reset` that is given none; None for a random one.
        render_mode: "rgb_array", or None for no pictures.
        training: whether episodes may start in later stages (`later_starts`).

    Raises:
        UserError: for a name or a value that cannot be.
    """
    varied = settings.shipped("randomization", randomization) if isinstance(randomization, str) else randomization
    env = make_env(
        task={"name": name, **settings.merge(shipped_section(name), task or {})},
        robot={"name": robot},
        backend=backend,
        randomization=varied,
        control=control,
        num_envs=1 if num_envs is None else num_envs,
        training=training,
    )
    return SingleEnv(env, seed, render_mode) if num_envs is None else VectorEnv(env, seed, render_mode)


# "dexsim/BoxLift-v0", "dexsim/GraspAndReach-v0" and "dexsim/BimanualHandover-v0"; arguments as `_make` has them.
box_lift = partial(_make, "box_lift")
grasp_and_reach = partial(_make, "grasp_and_reach")
bimanual_handover = partial(_make, "bimanual_handover")
