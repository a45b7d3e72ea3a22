"""Adds states that hold the object to a bank of grasp-and-reach, by scripted play: close the hand, lift, store.

`python -m tasks.recording.grasp --robot gr1t2_inspire --object stick` does so to the shipped bank, replacing those it
had.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import tasks
from dexsim.paths import assets_dir
from dexsim.robots import ROBOTS, RobotSpec, load
from tasks.banks import FIELDS, Bank, load_bank, save_bank
from tasks.grasp_and_reach import GraspAndReach
from tasks.objects import OBJECTS
from tasks.recording.ik import facing
from tasks.recording.reach import GRASP_BEHIND, GRASP_ROLL
from tasks.recording.session import Session

BANK, TASK = "grasp_and_reach", GraspAndReach.name
# The palm when the fingers close: from the object's axis, and over the table, [low, high] in m.
GAP, HEIGHT, LIFT = (0.012, 0.025), (0.06, 0.07), (0.04, 0.14)
PLAYS = 80


def play(session: Session, rng: np.random.Generator) -> bool:
    """Grasp and lift from a new start; store the state and return True where that worked."""
    session.reset()
    place = session.env.backend.state.object_pose[0, 0, :3].numpy().copy()
    rotation = facing(np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0]), np.array([GRASP_ROLL, 0.0, 0.0]))
    beside = [place[0] - GRASP_BEHIND.get(session.robot.name, 0.0), place[1] - rng.uniform(*GAP), rng.uniform(*HEIGHT)]
    session.move_palm("right", np.array(beside), rotation.wxyz)
    session.advance(0.7)
    session.close("right", 1.0)
    session.advance(1.5)
    session.move_palm("right", session.hands.palm("right")[0] + [0.0, 0.0, rng.uniform(*LIFT)])
    session.advance(1.2)
    if "picked_up" not in session.reached():
        return False
    session.store(session.stages.index("after picked_up"))
    return True


def write_bank(robot: RobotSpec, path: Path, thing: str, plays: int = PLAYS, seed: int = 0) -> int:
    """Write the shipped bank's states of the first stage and what `plays` grasps give; return how many held."""
    shipped = load_bank(BANK, robot, TASK)
    first = shipped.stage == 0
    start = Bank(*(getattr(shipped, name)[first] for name in FIELDS))
    with tempfile.TemporaryDirectory() as folder:
        save_bank(Path(folder) / "start.npz", robot, start, TASK)
        section = {"name": TASK, "bank": str(Path(folder) / "start.npz"), "side": "right", "objects": [thing]}
        session = Session(tasks.make_env(section, {"name": robot.name}, {"threads": 1}, seed=seed), path)
        for i in range(len(start)):
            session.keep(Bank(*(getattr(start, name)[i : i + 1] for name in FIELDS)))
        session.save()
        rng = np.random.default_rng(seed)
        return sum(play(session, rng) for _ in range(plays))


def main() -> None:
    """Write the shipped bank anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robot", default="gr1t2_inspire", choices=list(ROBOTS))
    parser.add_argument("--object", default="stick", choices=list(OBJECTS))
    given = parser.parse_args()
    robot = load(given.robot)
    path = assets_dir() / "banks" / f"{BANK}_{robot.name}.npz"
    print(path, f"{write_bank(robot, path, given.object)} of {PLAYS} held")


if __name__ == "__main__":
    main()
