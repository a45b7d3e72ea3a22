"""Observation terms: what they see, how they are laid out, and their mirror images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dexsim.control.controller import Controller
from dexsim.control.measured import Measured, RobotTensors
from dexsim.control.observations import GOAL, JOINT_POSITION, OBJECT_POSITION, ObservationGroup, ObservationTerm
from dexsim.control.symmetry import Mirror, mirror_group
from dexsim.env.privileged import JOINT_VELOCITY
from dexsim.errors import UserError
from dexsim.robots import load

ROBOT = load("gr1t2")


def measured(count: int = 3) -> Measured:
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(count, *shape, generator=generator, dtype=torch.float64)

    joints = len(ROBOT.commands)
    return Measured(
        RobotTensors(ROBOT),
        numbers(joints),
        numbers(joints),
        numbers(3),
        numbers(),
        numbers() > 0,
        numbers(3),
        numbers(),
    )


def test_a_group_is_its_terms_side_by_side() -> None:
    robot = measured()
    group = ObservationGroup((OBJECT_POSITION, JOINT_POSITION, GOAL), robot)
    assert group.layout == {"object_position": slice(0, 3), "joint_position": slice(3, 29), "goal": slice(29, 32)}
    vector = group(robot)
    assert vector.dtype == torch.float32
    assert torch.equal(vector[:, :3], robot.object_position.float())
    limits = replace(robot, joint_position=RobotTensors(ROBOT).limits.T.contiguous())
    ends = JOINT_POSITION.function(limits)
    assert torch.allclose(ends, torch.tensor([[-1.0], [1.0]], dtype=torch.float64).expand_as(ends))


def test_what_only_a_simulator_knows_needs_one() -> None:
    with pytest.raises(UserError, match=r"'joint_velocity': only a simulator knows it"):
        ObservationGroup((OBJECT_POSITION, JOINT_VELOCITY), measured())


def test_signs_are_repeated_over_a_term_s_width() -> None:
    pair = ObservationTerm("pair", lambda m: torch.cat([m.goal, m.object_position], dim=1), (1.0, -1.0, 1.0), "m")
    group = ObservationGroup((pair,), measured())
    assert mirror_group(group, ROBOT) == [(0, 1.0), (1, -1.0), (2, 1.0), (3, 1.0), (4, -1.0), (5, 1.0)]


def test_an_image_of_an_image_of_a_group_is_the_group() -> None:
    robot = measured()
    group = ObservationGroup((OBJECT_POSITION, JOINT_POSITION, GOAL), robot)
    mirror, vector = Mirror(mirror_group(group, ROBOT)), group(robot)
    assert torch.equal(mirror(mirror(vector)), vector)
    assert not torch.equal(mirror(vector), vector)


def test_a_term_without_an_image_is_refused_where_one_is_needed() -> None:
    one_sided = ObservationTerm("age", lambda m: m.object_age[:, None], None, "s")
    with pytest.raises(UserError, match=r"term 'age' has no mirror image"):
        mirror_group(ObservationGroup((OBJECT_POSITION, one_sided), measured()), ROBOT)


def test_a_controller_without_sides_takes_terms_without_images() -> None:
    from dexsim.control.actions import ActionMap, ControlSettings
    from dexsim.settings import load as load_settings

    term = ObservationTerm("age", lambda m: m.object_age[:, None], None, "s")
    action_map = ActionMap(ROBOT, load_settings(ControlSettings, "control/relative"))
    controller = Controller(torch.nn.Linear(1, 26), (term,), ROBOT, action_map, two_sided=False)
    action, target = controller(*controller.example(2))
    assert action.shape == target.shape == (2, 26)
    with pytest.raises(UserError, match="no mirror image"):
        Controller(torch.nn.Linear(1, 26), (term,), ROBOT, action_map, two_sided=True)
