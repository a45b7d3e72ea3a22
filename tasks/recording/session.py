"""Records a bank of initial states by hand: a session moves the hands of one simulated robot and stores states.

The page of `dexsim play` calls nothing else; a script may do the same without a browser:

    session = Session(env, Path("bank.npz"))
    session.move_palm("right", position)
    session.advance(2.0)
    session.store()
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch

from dexsim.backends import InitialState
from dexsim.env.env import Env
from dexsim.errors import UserError, require
from dexsim.rotations import tilt_cosine
from tasks.banks import FIELDS, Bank, mirror_bank, save_bank
from tasks.recording.hands import STEP, Hands

# How far an object that rests may be off its resting height, m, and the cosine of its tilt.
AT_REST, UPRIGHT = 0.01, 0.98

logger = logging.getLogger(__name__)


class Session:
    """One robot at work, and the states stored so far. Every change of the bank is written at once.

    Args:
        env: of one copy; its task says how the scene starts and whose bank this is.
        path: of the bank.

    Attributes:
        message: what happened last, for the person.
        resets: how often the scene has started anew.
        stages: what a state may be stored as; its index is the stage in the bank.
    """

    def __init__(self, env: Env, path: Path) -> None:
        require(env.num_envs == 1, "num_envs", env.num_envs, "1")
        exact = STEP / env.backend.scene.timestep
        self._substeps = round(exact)
        whole = self._substeps >= 1 and abs(exact - self._substeps) < 1e-6
        require(whole, "backend.timestep", env.backend.scene.timestep, f"a whole fraction of {STEP:g} s")
        self.env, self.path, self.robot, self.task = env, path, env.robot, env.task
        self.hands = Hands(env.robot, env.control.arm_lead)
        self.message, self.resets = "", 0
        # A state in which all is reached is not one to start from.
        self.stages: tuple[str, ...] = ("start", *(f"after {name}" for name in env.task.stage_names[:-1]))
        self._states: list[Bank] = []
        self._time_left = 0.0
        env.reset()
        self._take_over()

    def __len__(self) -> int:
        return sum(len(bank) for bank in self._states)

    @property
    def has_start(self) -> bool:
        """Whether there is a state of the first stage, which a bank needs."""
        return any(bool((state.stage == 0).any()) for state in self._states)

    @property
    def command_position(self) -> np.ndarray:
        """(26,) measured positions of the commanded joints, rad."""
        return self.env.backend.state.joint_position[0].numpy()[self.robot.command_index]

    def reset(self) -> None:
        """Start the scene anew, at the task's next random start."""
        self.env.reset_envs(torch.tensor([0]))
        self._take_over()
        self.message, self.resets = "new start", self.resets + 1

    def move_palm(self, side: str, position: np.ndarray, rotation: np.ndarray | None = None) -> None:
        """Send a palm somewhere: see `Hands.move_palm`."""
        self.hands.move_palm(side, position, rotation)

    def close(self, side: str, amount: float) -> None:
        """Move the fingers of a side to 0 (open) .. 1 (closed)."""
        self.hands.close(side, amount)

    def advance(self, seconds: float) -> None:
        """Let time pass; what is less than a step is kept for the next call. A diverged scene starts anew."""
        self._time_left += seconds
        while self._time_left >= STEP - 1e-9:
            self._time_left -= STEP
            target = self.hands.step(self.command_position)
            self.env.backend.set_joint_targets(torch.from_numpy(target)[None])
            bad = self.env.backend.step(self._substeps)
            if bool(bad.any()):
                self.reset()
                self.message = "the simulation diverged: new start"
                logger.warning(self.message)
        self.env.world.changed()
        self.env.world.phase = self.task.next_phase(self.env.world)
        self.env.world.changed("phase")

    def place(self, joints: np.ndarray, target: np.ndarray, object_pose: np.ndarray) -> None:
        """Go on from a given state, at rest; the task's phase stays as it is.

        Args:
            joints: (26,) positions of the commanded joints, rad; coupled ones follow.
            target: (26,) their targets, rad.
            object_pose: (K, 7) position in m and quaternion w x y z.
        """
        position = torch.from_numpy(self.robot.expand_coupled(joints))[None]
        pose = torch.from_numpy(object_pose)[None]
        self.env.backend.reset(torch.tensor([0]), InitialState(position, torch.from_numpy(target)[None], pose))
        self.env.world.changed()
        self.hands.reset(target)
        self._time_left = 0.0

    def keep(self, bank: Bank) -> None:
        """Add a state made before, a bank of one; written with the next change, or by `save`."""
        self._states.append(bank)

    def reached(self) -> list[str]:
        """The task's stages that the scene is in now."""
        return [name for name, now in self.task.stages(self.env.world).items() if bool(now[0])]

    def is_lost(self) -> bool:
        """Whether the task would end an episode here, its object lost."""
        return bool(self.task.failure(self.env.world)[0])

    def store(self, stage: int | None = None) -> int:
        """Keep the state as it is now and write the bank.

        Args:
            stage: of the task, an index of `stages`; None for the one that comes after all that is reached now.

        Returns:
            How many states there are now.

        Raises:
            UserError: there is no such stage, the object is lost, or it does not rest as it does at the start.
        """
        if stage is None:
            reached = self.reached()
            passed = [index for index, name in enumerate(self.task.stage_names, 1) if name in reached]
            stage = min(max(passed, default=0), len(self.stages) - 1)
        allowed = f"0 to {len(self.stages) - 1}"
        require(0 <= stage < len(self.stages), "stage", stage, allowed)
        if self.is_lost():
            raise UserError("not stored: the object is lost; start anew")
        if stage == 0 and not self._at_rest():
            raise UserError("not stored: at the start of an episode the object stands on the table, untilted")
        self._states.append(self._snapshot(stage))
        self.save()
        self.message = f"stored state {len(self)}: {self.stages[stage].replace('_', ' ')}"
        if not self.has_start:
            self.message += "; store one of the start too"
        return len(self)

    def undo(self) -> int:
        """Forget the state stored last; return how many are left."""
        self.message = "nothing to undo"
        if self._states:
            self._states.pop()
            self.save()
            self.message = "last state removed"
        return len(self)

    def save(self) -> Path | None:
        """Write the bank; None, and no file, where there is no state: nothing could start from that."""
        if not self._states:
            if self.path.exists():
                self.path.unlink()
            self.message = "nothing stored yet"
            return None
        bank = Bank(**{name: torch.cat([getattr(state, name) for state in self._states]) for name in FIELDS})
        save_bank(self.path, self.robot, bank, self.task.name)
        self.message = f"saved {len(self)} states"
        return self.path

    def _at_rest(self) -> bool:
        """Whether the first object stands on the table."""
        pose, table = self.env.world.state.object_pose[0, 0], self.env.backend.scene.table
        lifted = float(pose[2]) - table.position[2] - float(self.env.world.object_size()[0, 2]) / 2
        return abs(lifted) < AT_REST and float(tilt_cosine(pose[None, 3:])[0]) > UPRIGHT

    def _snapshot(self, stage: int) -> Bank:
        state = self.env.backend.state
        target = torch.from_numpy(self.hands.target.copy())[None]
        size = self.env.world.parameters["object_size"].reshape(1, -1, 3).clone()
        pose = state.object_pose.clone()
        bank = Bank(state.joint_position.clone(), target, pose, size, torch.tensor([stage]))
        # Banks of a two-sided task hold the states that the right hand began; the task makes the others from them.
        return mirror_bank(bank, self.robot) if bool(self.env.world.mirrored[0]) else bank

    def _take_over(self) -> None:
        """Go on from how the environment has started: its targets, not its positions, hold what a hand holds."""
        self.hands.reset(self.env.joint_target[0].double().numpy())
        self._time_left = 0.0
