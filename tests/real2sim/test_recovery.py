"""Recovery: a simulated robot with known constants is fitted, and the account of it is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dexsim import settings
from dexsim.robots import RobotSpec, constants
from real2sim.autotune import Real2SimSettings
from real2sim.logs.joint_log import JointLog
from real2sim.recovery import Recovered, recover, simulate, summary
from real2sim.results.judgement import Judged
from real2sim.search.base import SearchSettings
from real2sim.simulated_robot import SimulatedRobotSettings
from tests.real2sim.replayed import JOINTS, ROBOT, make_log

EXACT = SimulatedRobotSettings(seed=3, backlash=0.0, arm_resolution=0.0, hand_resolution=0.0, noise=0.0)


def test_a_simulated_robot_follows_the_commands_of_a_log():
    """A delay after the row whose command is another, and not before, a joint begins to move."""
    log = make_log(ROBOT, duration=2.0)
    measured, source = simulate(ROBOT, log, EXACT)
    joint = log.joints.index("left_wrist_yaw_joint")
    change = int(np.flatnonzero(np.diff(log.command[:, joint]))[0]) + 1
    moved = np.abs(np.diff(measured.position[:, joint])) > 1e-4
    assert not moved[: change - 1].any()
    delay = source.hidden["joint_delay"][ROBOT.commands.index("left_wrist_yaw_joint")]
    # Dry friction holds it a little longer than the delay.
    assert change + np.floor(delay / 0.02) - 1 <= np.flatnonzero(moved)[0] <= change + np.ceil(delay / 0.02) + 3


def test_constants_of_a_simulated_robot_are_recovered():
    stages = [SearchSettings("gauss_newton", 6), SearchSettings("gauss_newton", 2, timestep=0.005)]
    space = settings.load(Real2SimSettings, "real2sim/default").space
    recovered, _ = recover(
        ROBOT, make_log(ROBOT), SimulatedRobotSettings(3, backlash=0.0), Real2SimSettings(space, stages)
    )
    assert {each.seed for each in recovered} == {3}
    assert len([each for each in recovered if each.parameter.startswith("joint_")]) == 6 * len(JOINTS) + 2
    # How far the joints that the log has not sag shifts what carries the arm, and with it the biases.
    drives = ("joint_stiffness/", "joint_damping/", "joint_armature/", "joint_friction/", "joint_lag/")
    known = [each for each in recovered if each.determined and each.parameter.startswith(drives)]
    assert len(known) >= 10
    assert np.mean([each.near or each.inside for each in known]) >= 0.9
    nominal = constants(ROBOT)["joint_stiffness"]
    far = [each for each in recovered if each.parameter.startswith("joint_stiffness/")]
    assert (
        max(abs(np.log(each.true / nominal[ROBOT.commands.index(each.parameter.split("/")[1])])) for each in far) > 0.1
    )


def test_the_account_counts_what_is_determined():
    rows = [
        Recovered(0, "joint_lag/a", 1.0, 1.04, 1.01, 1.07, True),  # near, not inside
        Recovered(0, "joint_lag/b", 1.0, 1.20, 0.90, 1.50, True),  # inside, not near
        Recovered(0, "joint_lag/c", 1.0, 2.00, 1.90, 2.10, True),  # neither
        Recovered(0, "joint_lag/d", 1.0, 9.00, 8.00, 9.90, False),
    ]
    line = summary("seed 0", rows)
    assert line == ("seed 0: 3 of 4 determined; of these within 5% 33.3%, in their interval 33.3%, either 66.7%")


def test_a_study_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    from real2sim import recovery

    log = make_log(ROBOT, duration=2.0)
    monkeypatch.setattr(recovery, "load_log", lambda *_: log)

    def recover(robot: RobotSpec, log: JointLog, options: SimulatedRobotSettings, *_: Any) -> Any:
        judged = Judged(log, log.valid, ("nominal", "tuned"), np.array([[2.0], [1.0]]), np.zeros((2, 1, 1)))
        return [Recovered(options.seed, "joint_lag/a", 1, 1, 0, 2, True)], judged

    monkeypatch.setattr(recovery, "recover", recover)
    for end in ("2", "3"):
        monkeypatch.setattr("sys.argv", ["recovery", "log", "--seeds", "0", end, "--out", str(tmp_path / "out.csv")])
        recovery.main()
    printed = capsys.readouterr().out
    assert "rad^2: nominal 2, tuned 1" in printed
    assert printed.count("seed 0:") == printed.count("seed 2:") == 1
    assert [each.seed for each in recovery.read(tmp_path / "out.csv")] == [0, 1, 2]
