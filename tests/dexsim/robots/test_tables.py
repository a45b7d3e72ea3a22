"""A robot is told by names, units and order; what a calibration moves is warned of."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dexsim.errors import UserError
from dexsim.robots import constants, load, with_constants
from dexsim.robots.tuned import apply_tuned

ROBOT = load("gr1t2")
ELBOW, DISTAL = "left_elbow_pitch_joint", "L_thumb_distal_joint"


def moved(**shifts: float) -> dict[str, Any]:
    """The table of a robot whose constants are all shifted."""
    own = constants(ROBOT)
    return with_constants(ROBOT, {name: own[name] + shift for name, shift in shifts.items()}).table()


@pytest.mark.parametrize(
    "shifts", [{"joint_upper": 0.2}, {"joint_lower": -0.3}, {"coupling_k": 0.1}, {"coupling_b": 0.3}]
)
def test_what_a_calibration_moves_is_warned_of(shifts: dict[str, float], caplog: pytest.LogCaptureFixture) -> None:
    ROBOT.check_table(ROBOT.table(), "bank x.npz")
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        ROBOT.check_table(moved(**shifts), "bank x.npz")
    (record,) = caplog.records
    names = ("L_thumb_distal_joint", "R_index_intermediate") if "coupling" in next(iter(shifts)) else (ELBOW,)
    assert "bank x.npz" in record.message
    assert any(name in record.message for name in names)


def test_twenty_degrees_are_another_robot() -> None:
    for shifts, name in (
        ({"joint_upper": 0.36}, ELBOW),
        ({"coupling_b": -0.36}, DISTAL),
        ({"coupling_k": 0.4}, DISTAL),
    ):
        with pytest.raises(UserError, match=rf"bank x\.npz.* does not fit: .*{name} is \[.*\], but was \["):
            ROBOT.check_table(moved(**shifts), "bank x.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["commands"].__setitem__(3, "knee"), "commands.knee is missing"),
        (lambda t: t.update(unit="deg"), "unit is rad, but was deg"),
        (lambda t: (t["commands"].reverse(), t["limits"].reverse()), "the order of commands is"),
        (lambda t: t["couplings"].reverse(), "the order of couplings is"),
        (
            lambda t: t["couplings"][0].__setitem__(1, ELBOW),
            f"couplings.{DISTAL}.source is L_thumb_.*, but was {ELBOW}",
        ),
        (lambda t: t["fingertips"].pop(), "fingertips.right_pinky is new"),
        (lambda t: t.update(hand="claw"), "hand is fourier, but was claw"),
    ],
)
def test_names_units_and_order_say_which_robot_it_is(change: Callable[[Any], Any], message: str) -> None:
    table = copy.deepcopy(ROBOT.table())
    change(table)
    with pytest.raises(UserError, match=message):
        ROBOT.check_table(table, "log y.csv")


def test_limits_that_leave_no_range_are_refused() -> None:
    content = {"format": 1, "robot": "gr1t2", "constants": {"joint_lower": {ELBOW: 1.0}, "joint_upper": {ELBOW: 0.5}}}
    with pytest.raises(UserError, match=rf"joint_lower of {ELBOW} = 1: must be below its joint_upper, 0.5"):
        apply_tuned(ROBOT, content)


def test_an_open_hand_stays_within_limits() -> None:
    robot = load("gr1t2_inspire")
    tuned = with_constants(robot, {"joint_lower": constants(robot)["joint_lower"] + 0.2})
    assert (np.array(tuned.open_position) >= tuned.command_limits[:, 0]).all()
    assert (np.array(tuned.posture("rest")) >= tuned.command_limits[:, 0]).all()
