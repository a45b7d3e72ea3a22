"""What is free, what moves together, and within what bounds."""

from __future__ import annotations

import numpy as np
import pytest

from dexsim.errors import UserError
from dexsim.robots import constants, labels, with_constants
from real2sim.search.space import FreeSettings, SearchSpace, Tie
from tests.real2sim.replayed import ROBOT


def make(free: dict[str, FreeSettings], joints: tuple[str, ...] = ROBOT.commands) -> SearchSpace:
    return SearchSpace(ROBOT, free, joints, np.ones(len(joints), bool))


@pytest.mark.parametrize(
    ("tie", "count", "together"),
    [
        ("none", 26, ("L_index_proximal_joint",)),
        ("mirror", 13, ("L_index_proximal_joint", "R_index_proximal_joint")),
        ("fingers", 20, tuple(f"L_{finger}_proximal_joint" for finger in ("index", "middle", "ring", "pinky"))),
        ("part", 4, tuple(name for name in ROBOT.commands if name.startswith("L_"))),
        ("side", 2, ROBOT.commands[:13]),
        ("all", 1, ROBOT.commands),
    ],
)
def test_ties(tie: Tie, count: int, together: tuple[str, ...]):
    space = make({"joint_damping": FreeSettings((0.1, 10.0), tie, start=1.0)})
    assert len(space) == count
    names = labels(ROBOT, "joint_damping")
    group = [[names[i] for i in p.members] for p in space.parameters if names.index(together[0]) in p.members]
    assert [sorted(each) for each in group] == [sorted(together)]
    x = space.random(5, np.random.default_rng(0))
    values = space.values(x)["joint_damping"]
    assert values.shape == (5, 26)
    for parameter in space.parameters:
        assert np.ptp(values[:, parameter.members], axis=1).max() == 0.0


def test_what_is_not_free_stays_as_it_is():
    space = make({"joint_stiffness": FreeSettings((0.5, 2.0), only=("left_*",))})
    assert len(space) == 7
    values = space.constants(space.high)
    assert values["joint_stiffness"][:7] == pytest.approx(2 * np.array([j.stiffness for j in _joints()[:7]]))
    assert values["joint_stiffness"][7:].tolist() == [joint.stiffness for joint in _joints()[7:]]
    assert values["joint_damping"].tolist() == [joint.damping for joint in _joints()]


def test_a_start_goes_by_pattern_and_makes_the_robot():
    space = make({"joint_friction": FreeSettings((0.1, 10.0), start={"[LR]_*": 0.02, "*": 0.3})})
    friction = np.array([space.robot.joint(name).friction for name in ROBOT.commands])
    assert friction == pytest.approx(np.where(ROBOT.is_hand, 0.02, 0.3))


def test_mass_takes_the_inertia_along():
    """A body twice as heavy has twice the moments; nothing else would be a rigid body of the same shape."""
    space = make({"link_mass": FreeSettings((0.5, 2.0), only=("left_hand_yaw_link",))})
    heavy = with_constants(space.robot, {k: v[0] for k, v in space.values(space.high).items()})
    before, after = (next(x for x in r.links if x.name == "left_hand_yaw_link") for r in (ROBOT, heavy))
    assert after.mass == pytest.approx(2 * before.mass)
    assert np.array(after.inertia) == pytest.approx(2 * np.array(before.inertia))


def test_sides_are_blocks_of_their_own_until_something_joins_them():
    apart = {"joint_damping": FreeSettings((0.1, 10.0)), "joint_lag": FreeSettings((0.1, 10.0), "side", start=0.02)}
    assert [len(block.members) for block in make(apart).blocks] == [14, 14]
    joined = {**apart, "joint_delay": FreeSettings((0.0, 0.2), "all", start=0.02)}
    assert [len(block.members) for block in make(joined).blocks] == [29]


def test_parameters_of_a_colour_move_different_joints():
    space = make({"joint_damping": FreeSettings((0.1, 10.0)), "joint_bias": FreeSettings((-0.1, 0.1))})
    assert (space.colours[space.measured] == -1).all()
    for colour in range(space.colours.max() + 1):
        assert space.joint_mask[space.colours == colour].sum(axis=0).max() == 1


@pytest.mark.parametrize(
    ("free", "message"),
    [
        ({"joint_stifness": FreeSettings((0.1, 10.0))}, "no constant named 'joint_stifness'.*joint_stiffness"),
        ({"joint_lag": FreeSettings((0.1, 10.0))}, "start 0 of .* must lie within"),
        ({"joint_delay": FreeSettings((0.01, 0.1), start=0.2)}, "start 0.2 of .* must lie within 0.01 to 0.1 s"),
        ({"joint_damping": FreeSettings((0.1, 10.0), only=("no_such",))}, "only: 'no_such' fits nothing"),
        ({"joint_damping": FreeSettings((-1.0, 10.0))}, "bounds.*factors above 0"),
        (
            {"joint_origin": FreeSettings((-0.01, 0.01), "mirror")},
            "share one value by tie=mirror, and must start alike",
        ),
        ({"joint_friction": FreeSettings((0.1, 10.0), "side", {"[LR]_*": 0.02, "*": 0.3})}, "must start alike"),
    ],
)
def test_bad_spaces_are_refused(free: dict[str, FreeSettings], message: str):
    with pytest.raises(UserError, match=message):
        make(free)


@pytest.mark.parametrize("hands", [True, False])
def test_what_a_hand_weighs_is_told_by_its_arm(hands: bool):
    """Also where no finger moved, or was logged: half a kilogram that nobody carries would bend every constant."""
    free = {"link_gravity_compensation": FreeSettings((0.0, 1.5), "part", start=0.8)}
    joints = ROBOT.commands[:13] if hands else ROBOT.commands[:7]
    space = make(free, joints)
    assert [p.label for p in space.parameters] == ["left_arm", "left_hand"]
    of_hand = space.parameters[1].joints
    assert of_hand.all()
    assert space.parameters[0].joints.tolist() == [True] * 7 + [False] * (len(joints) - 7)
    values = space.constants(space.start)["link_gravity_compensation"]
    assert values.tolist() == [0.8] * len(values)  # the right side too, though nothing tells


def test_a_joint_that_rests_takes_what_its_part_shares():
    moved = np.array([True] * 5 + [False] + [True])
    free = {
        "joint_delay": FreeSettings((0.0, 0.2), "part", start=0.02),
        "joint_lag": FreeSettings((0.1, 9), start=0.03),
    }
    space = SearchSpace(ROBOT, free, ROBOT.commands[:7], moved)
    assert not space.parameters[0].joints[5]
    values = space.constants(space.high)
    assert values["joint_delay"][:7].tolist() == [0.2] * 7
    assert values["joint_lag"][5] == pytest.approx(0.03)
    assert space.left_out[f"joint_lag/{ROBOT.commands[5]}"] == "never moved"


def test_a_joint_that_alone_tells_what_it_shares_has_it_for_itself():
    free = {"joint_stiffness": FreeSettings((0.5, 2.0), "mirror"), "joint_lag": FreeSettings((0.1, 9.0), start=0.03)}
    right = tuple(name for name in ROBOT.commands if name.startswith("right_"))
    space = make(free, right)
    assert space.owner.tolist() == [*range(7), *range(7)]
    assert [labels(ROBOT, "joint_stiffness")[p.members[0]] for p in space.parameters[:7]] == list(right)


def test_what_no_joint_tells_starts_all_the_same():
    free = {"joint_damping": FreeSettings((0.5, 2.0)), "joint_lag": FreeSettings((0.1, 9), start=0.03, only=("R_*",))}
    space = make(free, ROBOT.commands[:7])
    assert space.constants(space.start)["joint_lag"][-6:].tolist() == [0.03] * 6


def test_tied_constants_that_differ_share_a_factor():
    space = make({"joint_stiffness": FreeSettings((0.5, 2.0), "side")})
    own = np.array([joint.stiffness for joint in _joints()])
    assert space.constants(space.start)["joint_stiffness"] == pytest.approx(own)
    assert space.constants(space.high)["joint_stiffness"] == pytest.approx(2 * own)


def test_places_have_bounds_around_their_own():
    space = make({"link_com": FreeSettings((-0.02, 0.02), only=("left_lower_arm_pitch_link.*",))})
    own = constants(ROBOT)["link_com"]
    change = space.constants(space.high)["link_com"] - own
    assert np.flatnonzero(change).size == 3
    assert change[change != 0] == pytest.approx([0.02] * 3)


def test_a_space_without_a_joint_that_moved_is_refused():
    with pytest.raises(UserError, match="nothing to search"):
        make({"joint_damping": FreeSettings((0.1, 10.0), only=("right_*",))}, joints=ROBOT.commands[:7])


def test_a_start_goes_by_joint_also_where_joints_are_tied():
    free = {"joint_friction": FreeSettings((0.1, 10.0), "mirror", {"[LR]_*": 0.02, "*": 0.3})}
    starts = {parameter.label: parameter.start for parameter in make(free).parameters}
    assert starts["index_proximal"] == 0.02
    assert starts["elbow_pitch"] == 0.3


def test_a_factor_on_inertia_is_among_the_constants_and_counts_once():
    link = "left_hand_yaw_link"
    space = make({"link_inertia": FreeSettings((0.1, 10.0), start=2.0, only=(link,))})
    assert space.constants(space.high)["link_inertia"].max() == pytest.approx(20.0)
    heavy = next(item for item in space.robot.links if item.name == link)
    own = next(item for item in ROBOT.links if item.name == link)
    assert heavy.inertia == pytest.approx(2 * np.array(own.inertia))
    again = with_constants(space.robot, constants(space.robot))
    assert next(item for item in again.links if item.name == link).inertia == pytest.approx(heavy.inertia)


def _joints() -> list:
    return [ROBOT.joint(name) for name in ROBOT.commands]
