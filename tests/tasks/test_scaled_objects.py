"""What randomization makes of objects is checked against the starts before anything runs, as their sizes are."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import tasks
from dexsim.errors import UserError
from tests.simulated import PAPER

ROBOT = {"name": "gr1t2"}


def make(task: str, scale: Any = None, shift: float = 0.0, **section: Any) -> None:
    randomization = {"object_scale": scale, "initial_position": shift}
    tasks.make_env({"name": task, **section}, ROBOT, {"threads": 1}, randomization)


@pytest.mark.parametrize("task", ["box_lift", "grasp_and_reach", "bimanual_handover"])
def test_an_object_is_not_scaled_into_the_hands(task: str) -> None:
    message = (
        r"randomization\.object_scale = \[1\.3, 1\.5\]: must be at most 1\.\d+ for '\w+', whose start the shipped bank"
    )
    with pytest.raises(UserError, match=message):
        make(task, [1.3, 1.5])
    make(task, PAPER["object_scale"])
    make(task, [1.3, 1.5], init="default")  # hands at rest are clear of everything


def test_every_object_takes_the_scales_of_the_paper() -> None:
    make("grasp_and_reach", PAPER["object_scale"], objects=["all", "held_out"])
    make("bimanual_handover", PAPER["object_scale"], objects=["blocks"])


def test_a_rod_is_not_scaled_too_short_for_two_hands() -> None:
    with pytest.raises(
        UserError, match=r"object_scale = \[0\.7, 1\.0\]: must be at least 0\.8 for 'rod', for two hands"
    ):
        make("bimanual_handover", [0.7, 1.0])


def test_meshes_keep_their_size() -> None:
    make("grasp_and_reach", [1.3, 1.5], objects=["jug"])


def test_a_shift_into_the_hands_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    make("box_lift", shift=PAPER["initial_position"])
    assert not caplog.messages
    make("box_lift", shift=0.05)
    assert "randomization.initial_position = 0.05: hands of the shipped banks stay clear" in caplog.text
