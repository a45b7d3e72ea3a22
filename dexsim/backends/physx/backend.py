"""`dexsim.backends.Backend` on PhysX: for judging a policy by another engine, not for training one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dexsim import parameters
from dexsim.backends.base import InitialState, Rollout, SimState
from dexsim.backends.physx.engine import sapien
from dexsim.backends.physx.worker import SHAPES, Here, Memory, Worker
from dexsim.errors import UserError, require
from dexsim.robots.constants import check, constants
from dexsim.scene import Scene

MOST_ENVS, MOST_PROCESSES = 4096, 256


class PhysxBackend:
    """One engine scene for each environment, shared out among worker processes.

    A script that makes one with several processes needs `if __name__ == "__main__":`, as for any multiprocessing.

    Args:
        scene: what to simulate; steps longer than 0.5 ms are divided.
        num_envs: how many copies.
        threads: processes, 0 for one a core, 1 for none but this one; results do not depend on it.
    """

    capabilities = frozenset({"parameters", "wrench", "contacts"})
    fixed_at_build: frozenset[str] = frozenset()
    unknown = frozenset(parameters.CONTACT)  # its contacts are hard
    device = torch.device("cpu")

    def __init__(self, scene: Scene, num_envs: int, threads: int = 0) -> None:
        """See the class."""
        sapien()  # a missing package is reported here, not by a worker
        # Each is a scene of its own, of about a megabyte: more is a slip of the hand.
        require(num_envs <= MOST_ENVS, "num_envs", num_envs, f"at most {MOST_ENVS} on physx")
        self.scene, self.num_envs = scene, num_envs
        nominal = parameters.nominal(scene, self.device)
        self.values = {name: value.repeat(num_envs, 1) for name, value in nominal.items()}
        self._memory = Memory(scene, num_envs)
        self._views = {name: torch.from_numpy(self._memory.array(name)) for name in (*SHAPES, "target", "wrench")}
        self._stale = np.zeros(num_envs, dtype=bool)
        self._state: SimState | None = None
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        count = min(threads or cores, num_envs, MOST_PROCESSES)
        self._shares = [share for share in np.array_split(np.arange(num_envs), count) if len(share)]
        values = {name: value.numpy() for name, value in self.values.items()}
        make = Here if count == 1 else Worker
        self._workers = [
            make(scene, self._memory, int(share[0]), {name: value[share] for name, value in values.items()})
            for share in self._shares
        ]
        if count > 1:
            self._answers()  # all are built, side by side

    # -- state ---------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> SimState:
        """The current state, float64."""
        self._refresh()
        if self._state is None:
            views = {name: self._views[name] for name in SHAPES if name != "contact"}
            contact = self._views["contact"]
            self._state = SimState(**views, contact=lambda: contact > 0)
        return self._state

    def set_joint_targets(self, targets: Tensor) -> None:
        """See `Backend`."""
        self._views["target"].copy_(targets)

    def apply_wrench(self, wrench: Tensor) -> None:
        """See `Backend`."""
        self._views["wrench"].copy_(wrench)

    def step(self, substeps: int) -> Tensor:
        """See `Backend`."""
        self._refresh()
        self._state = None
        return torch.from_numpy(np.concatenate(self._call("step", substeps)))

    def rollout(self, targets: Tensor) -> Rollout:
        """See `Backend`."""
        self._refresh()
        self._state = None
        self._views["target"].copy_(targets[:, -1])
        rows = self._each("rollout", *((targets[share].numpy(),) for share in self._shares))
        position, effort, diverged = (torch.from_numpy(np.concatenate(part)) for part in zip(*rows, strict=True))
        return Rollout(position, effort, diverged)

    def reset(self, env_ids: Tensor, initial: InitialState) -> None:
        """See `Backend`."""
        self._state = None
        ids = env_ids.numpy()
        start = (initial.joint_position.numpy(), initial.joint_target.numpy(), initial.object_pose.numpy())
        self._views["target"][env_ids] = initial.joint_target.double()
        self._views["wrench"][env_ids] = 0.0
        own = [np.isin(ids, share) for share in self._shares]
        self._each("reset", *((ids[mine], *(part[mine] for part in start)) for mine in own))
        self._stale[ids] = False

    # -- parameters ----------------------------------------------------------------------------------------------------

    def set_parameters(self, env_ids: Tensor, values: Mapping[str, Tensor]) -> None:
        """See `Backend`; they count from the next step or reset on."""
        ids, arrays = env_ids.numpy(), {name: value.double().numpy() for name, value in values.items()}
        check(arrays, parameters.PARAMETERS)
        missing = sorted(self.unknown & arrays.keys())
        if missing:
            raise UserError(f"{', '.join(missing)}: the contacts of physx are hard; allowed: mujoco for these")
        for name, value in values.items():
            if name not in self.values:
                known = torch.from_numpy(constants(self.scene.robot)[name])
                self.values[name] = known.repeat(self.num_envs, 1)
            self.values[name][env_ids] = value.double()
        own = [np.isin(ids, share) for share in self._shares]
        self._each(
            "set_parameters", *((ids[mine], {name: value[mine] for name, value in arrays.items()}) for mine in own)
        )
        self._stale[ids] = True
        self._state = None

    def _refresh(self) -> None:
        """Build scenes anew whose parameters have changed since."""
        if self._stale.any():
            stale = np.flatnonzero(self._stale)
            self._stale[:] = False
            self._each("rebuild", *((stale[np.isin(stale, share)],) for share in self._shares))

    # -- the rest ------------------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Positions, velocities, targets and parameters, not the engine's caches nor targets on their way to a drive.

        So `set_state` goes on nearly, but not exactly, from there: "exact_state" is no capability of this backend.
        """
        self._refresh()
        return {
            "views": {name: view.clone() for name, view in self._views.items()},
            "values": {name: value.clone() for name, value in self.values.items()},
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `Backend`."""
        everyone = torch.arange(self.num_envs)
        self.set_parameters(everyone, state["values"])
        views = state["views"]
        self.reset(everyone, InitialState(views["joint_position"], views["target"], views["object_pose"]))
        for name, view in views.items():
            self._views[name].copy_(view)
        self._stale[:] = True  # takes the velocities over, too

    def _call(self, method: str, *arguments: Any) -> list[Any]:
        return self._each(method, *(arguments for _ in self._shares))

    def _each(self, method: str, *arguments: tuple[Any, ...]) -> list[Any]:
        """Call a method of each worker with arguments of its own, side by side."""
        for worker, given in zip(self._workers, arguments, strict=True):
            worker.ask(method, *given)
        return self._answers()

    def _answers(self) -> list[Any]:
        """What the workers answer; the first error is raised when all of them have."""
        answers, errors = [], []
        for worker in self._workers:
            try:
                answers.append(worker.answer())
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return answers

    def close(self) -> None:
        """See `Backend`."""
        for worker in self._workers:
            worker.close()
        self._workers = []
