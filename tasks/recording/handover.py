"""Makes the handover's bank of initial states by scripted play: one robot plays the task stage by stage.

The script drives a `tasks.recording.session.Session`, as a person at the page of `dexsim play` does. The second hand's
grasp is the mirror image of the first hand's, higher up: inverse kinematics says where that is, physics whether it
holds.

`python -m tasks.recording.handover` writes the bank of the Fourier hands.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tasks
from dexsim.control.symmetry import VECTOR, Mirror, mirror_commands
from dexsim.paths import assets_dir
from dexsim.robots import ROBOTS, RobotSpec, load
from dexsim.robots.spec import SIDES
from dexsim.rotations import quat_rotate
from tasks.banks import FIELDS, Bank, save_bank
from tasks.bimanual_handover import LARGEST_BLOCK, BimanualHandover
from tasks.recording.ik import Reacher, facing, posture
from tasks.recording.reach import beside_object
from tasks.recording.session import Session

BANK, TASK = "bimanual_handover", BimanualHandover.name
PLACE = ((0.28, 0.34), (-0.40, -0.345))  # x and y of the object where it is taken, m
WAITING, WAITING_SPREAD = (0.29, 0.16, 0.26), 0.03  # of the second palm, m
ROLL = 0.35  # palms face down a little by this, rad
# The first palm when its fingers close: how far from the object's axis, behind it, and over the table, m.
GRASP = (0.035, 0.012, 0.055)
LIFT, MIDDLE_SPREAD = 0.12, 0.02  # m
HIGHER = (0.115, 0.13)  # of the second hand's grasp over the first hand's, m
BACK = (0.08, 0.11)  # of the second hand before it takes the object, m
STARTS, PLAYS = 200, 60
Pose = tuple[np.ndarray, Any]  # position (3,) m and `mink.SO3`


class HandoverPlay:
    """Plays handovers and stores states on the way.

    Args:
        session: of the handover, right-to-left; the bank it starts from has states of the first stage.
        rng: what varies.
    """

    def __init__(self, session: Session, rng: np.random.Generator) -> None:
        self._session, self._rng, self._robot = session, rng, session.robot
        self._reacher = Reacher(session.robot)
        self._stage = {name: i for i, name in enumerate(session.stages)}
        self._image = Mirror(mirror_commands(session.robot))
        left, is_hand = session.robot.of_side("left"), session.robot.is_hand
        self._left_arm, self._left_hand = left & ~is_hand, left & is_hand

    def play(self) -> str:
        """Play one handover from a new start; return the stage it came to, its states stored."""
        self._session.reset()
        if not self._grasp():
            return "start"
        self._store("picked_up")
        middle = self._goal(0) + self._rng.uniform(-1, 1, 3) * MIDDLE_SPREAD
        self._carry("right", middle, 3.0, upright=True)
        if not self._holds("picked_up", "at_middle"):
            return "picked_up"
        taking = self._second_grasp()
        if taking is None or not self._approach(taking):
            return "at_middle"
        if not self._take(taking):
            return "received"
        return "passed" if self._bring() else "passed, then lost"

    # -- stages --------------------------------------------------------------------------------------------------------

    def _grasp(self) -> bool:
        """The first hand takes the object from the table and lifts it."""
        session, (gap, behind, height) = self._session, GRASP
        rotation = facing(np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0]), np.array([-ROLL, 0.0, 0.0]))
        place = self._object()[0]
        session.move_palm("right", np.array([place[0] - behind, place[1] - gap, height]), rotation.wxyz)
        session.advance(0.7)
        session.close("right", 1.0)
        session.advance(1.5)
        session.move_palm("right", session.hands.palm("right")[0] + [0.0, 0.0, LIFT])
        session.advance(1.0)
        return self._holds("picked_up")

    def _approach(self, taking: Pose) -> bool:
        """The second hand is open beside the object, about to take it."""
        position, rotation = taking
        back = rotation.as_matrix()[:, 0] * self._rng.uniform(*BACK)
        joints = self._solve((position - back, rotation))
        if joints is None:
            return False
        held, target, pose = self._snapshot()
        reached = held.copy()
        reached[self._left_arm] = joints[self._left_arm]
        self._place(reached, np.where(self._left_arm, reached, target), pose)
        self._session.advance(0.3)
        if not self._holds("picked_up", "at_middle"):
            return False
        self._store("at_middle")
        self._place(held, target, pose)
        return True

    def _take(self, taking: Pose) -> bool:
        """Both hands hold it; then the first one opens and goes."""
        session, joints = self._session, self._solve(taking)
        held, target, pose = self._snapshot()
        if joints is None:
            return False
        closed, pressing = (self._image(torch.from_numpy(values)).numpy() for values in (held, target))
        both = np.where(self._left_arm, joints, np.where(self._left_hand, closed, held))
        self._place(both, np.where(self._left_arm, both, np.where(self._left_hand, pressing, target)), pose)
        session.advance(1.0)
        if not self._holds("picked_up", "received"):
            return False
        state = self._snapshot()
        session.close("right", 0.0)
        session.advance(0.8)
        position, rotation = self._palm("right")
        session.move_palm("right", position - rotation.as_matrix()[:, 0] * LIFT, rotation.wxyz)
        session.advance(1.0)
        if not self._holds("passed"):
            return False
        alone = self._snapshot()
        self._place(*state)
        session.advance(0.02)
        self._store("received")  # kept, now that it is known to be a good one
        self._place(*alone)
        session.advance(0.02)
        self._store("passed")
        return True

    def _bring(self) -> bool:
        """The second hand carries it on; a state on the way."""
        goal = self._goal(1)
        self._carry("left", self._object()[0] + (goal - self._object()[0]) * self._rng.uniform(0.3, 0.7), 1.5)
        if not self._holds("passed"):
            return False
        self._store("passed")
        return True

    # -- what stages are made of ---------------------------------------------------------------------------------------

    def _second_grasp(self) -> Any:
        """Where the second palm grasps: the first one's mirror image, turned to the object's axis and moved up it."""
        import mink

        place, axis = self._object()
        position, rotation = self._palm("right")
        flip = np.diag(VECTOR)
        onto = _turn(axis * VECTOR, axis)
        turned = mink.SO3.from_matrix(onto.as_matrix() @ flip @ rotation.as_matrix() @ flip)
        offset = onto.as_matrix() @ ((position - place) * VECTOR)
        return place + offset + axis * self._rng.uniform(*HIGHER), turned

    def _carry(self, side: str, goal: np.ndarray, seconds: float, upright: bool = False, parts: int = 5) -> None:
        """Move a palm so that the object comes to a goal (3,), on the way turned upright; m and s."""
        for part in range(parts):
            position, rotation = self._palm(side)
            place, axis = self._object()
            turn = _turn(axis, np.array([0.0, 0.0, 1.0])) if upright else _turn(axis, axis)
            # An arm sags below its target.
            sag = np.clip(self._session.hands.palm(side)[0] - position, -0.02, 0.02) if part else 0.0
            wanted = goal + turn.as_matrix() @ (position - place) + sag
            self._session.move_palm(side, wanted, (turn @ rotation).wxyz)
            self._session.advance(seconds / parts)

    def _solve(self, palm: Pose) -> Any:
        """Joints (26,) with the left palm there, or None."""
        import mink

        start = self._snapshot()[0]
        start[self._left_arm] = posture(self._robot, self._rng)[self._left_arm]
        goal = mink.SE3.from_rotation_and_translation(palm[1], palm[0])
        joints, miss = self._reacher.reach(start, {"left": goal})
        return joints[self._robot.command_index] if miss < 0.01 else None

    def _palm(self, side: str) -> Pose:
        """Where a palm is."""
        import mink

        pose = self._session.env.backend.state.palm_pose[0, SIDES.index(side)].numpy()
        return pose[:3].copy(), mink.SO3.from_matrix(pose[3:].reshape(3, 3).copy())

    def _object(self) -> tuple[np.ndarray, np.ndarray]:
        """Its position (3,) in m and its axis (3,)."""
        pose = self._session.env.backend.state.object_pose[0, 0].numpy().copy()
        return pose[:3], quat_rotate(pose[3:], np.array([0.0, 0.0, 1.0]))

    def _goal(self, phase: int) -> np.ndarray:
        return self._session.env.world.goals[0, phase].numpy()

    def _snapshot(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        session = self._session
        pose = session.env.backend.state.object_pose[0, 0].numpy().copy()
        return session.command_position.copy(), session.hands.target.copy(), pose

    def _place(self, joints: np.ndarray, target: np.ndarray, pose: np.ndarray) -> None:
        self._session.place(joints, target, pose[None])

    def _holds(self, *stages: str) -> bool:
        return set(stages) <= set(self._session.reached())

    def _store(self, stage: str) -> None:
        self._session.store(self._stage[f"after {stage}"])


def _turn(start: np.ndarray, end: np.ndarray) -> Any:
    """The smallest rotation of one unit vector (3,) onto another."""
    import mink

    cross = np.cross(start, end)
    sine = float(np.linalg.norm(cross))
    if sine < 1e-6:
        return mink.SO3.identity()
    return mink.SO3.exp(cross / sine * np.arctan2(sine, float(start @ end)))


def write_bank(robot: RobotSpec, path: Path, starts: int = STARTS, plays: int = PLAYS, seed: int = 0) -> list[str]:
    """Write a bank of `starts` states of the first stage and what `plays` handovers come by; return how those ended."""
    import mink

    rng = np.random.default_rng(seed)
    rotation = facing(np.array([0.0, -1.0, 0.0]), np.array([1.0, 0.0, 0.0]), np.array([ROLL, 0.0, 0.0]))

    def waiting(generator: np.random.Generator) -> Any:
        place = np.array(WAITING) + generator.uniform(-1, 1, 3) * WAITING_SPREAD
        return mink.SE3.from_rotation_and_translation(rotation, place)

    first = beside_object(robot, starts, PLACE, LARGEST_BLOCK, waiting, seed)
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start.npz"
        save_bank(start, robot, first, TASK)
        section = {"name": TASK, "bank": str(start), "direction": "right_to_left"}
        session = Session(tasks.make_env(section, {"name": robot.name}, {"threads": 1}, seed=seed), path)
        for i in range(len(first)):
            session.keep(Bank(**{name: getattr(first, name)[i : i + 1] for name in FIELDS}))
        session.save()
        play = HandoverPlay(session, rng)
        return [play.play() for _ in range(plays)]


def main() -> None:
    """Write the shipped bank."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robot", default="gr1t2", choices=list(ROBOTS))
    robot = load(parser.parse_args().robot)
    path = assets_dir() / "banks" / f"{BANK}_{robot.name}.npz"
    ends = write_bank(robot, path)
    print(path, {end: ends.count(end) for end in sorted(set(ends))})


if __name__ == "__main__":
    main()
