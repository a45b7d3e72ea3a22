import itertools
import json
import math
from collections import Counter

import mujoco
import numpy as np
import pytest
import torch

from dexsim.backends import InitialState
from dexsim.backends.mujoco.backend import MujocoBackend
from dexsim.paths import assets_dir
from dexsim.robots import ROBOTS, RobotSpec, load
from dexsim.robots.collisions import PARTS, collision_bits
from dexsim.robots.collisions import may_touch as may_touch_by_table
from dexsim.robots.meshes import find_meshes, urdf_path
from dexsim.robots.spec import SIDES
from dexsim.scene import ObjectSpec, Scene, Table

ARM = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow_pitch", "wrist_yaw", "wrist_roll", "wrist_pitch")
HAND = ("thumb_proximal_yaw", "thumb_proximal_pitch", *(f"{f}_proximal" for f in ("index", "middle", "ring", "pinky")))
# `joint_order` in the metadata of a GR1T2's log.
JOINT_ORDER = [
    *(f"left_{part}_joint" for part in ARM),
    *(f"L_{part}_joint" for part in HAND),
    *(f"right_{part}_joint" for part in ARM),
    *(f"R_{part}_joint" for part in HAND),
]
# Out of the way of everything.
NOWHERE = Table(position=(0.55, 0.0, -3.0))
TIMESTEPS = (0.01, 0.005)


@pytest.fixture(params=ROBOTS)
def robot(request) -> RobotSpec:
    return load(request.param)


def make_backend(robot: RobotSpec, num_envs: int, timestep: float = 0.01, table: Table = NOWHERE, collide: bool = True):
    backend = MujocoBackend(Scene(robot, table, timestep=timestep), num_envs, threads=1)
    if not collide:
        for name in ("geom_contype", "geom_conaffinity"):
            backend.batch.expand(name)[:] = 0
    return backend


def start(backend: MujocoBackend, commands: np.ndarray) -> None:
    """At rest at, and held at, commanded positions (n, 26)."""
    joints = torch.from_numpy(backend.scene.robot.expand_coupled(commands))
    initial = InitialState(joints, torch.from_numpy(commands), torch.zeros(len(commands), 0, 7))
    backend.reset(torch.arange(len(commands)), initial)


def run(backend: MujocoBackend, seconds: float):
    """Yields joint positions (N, J) after each physics step; nothing may go non-finite."""
    for _ in range(round(seconds / backend.scene.timestep)):
        assert not backend.step(1).any()
        yield backend.state.joint_position.numpy()


def rest_pose(robot: RobotSpec) -> np.ndarray:
    """Arms hanging, hands open, (26,)."""
    low, high = robot.command_limits.T
    return np.where(robot.is_hand, robot.open_position, np.clip(0.0, low, high))


def random_commands(robot: RobotSpec, count: int, seed: int = 0, margin: float = 0.05) -> np.ndarray:
    """(count, 26) within limits, where the joints coupled to them are within theirs."""
    low, high = robot.command_limits.T.copy()
    for coupling in robot.couplings:
        index = robot.commands.index(coupling.source)
        ends = sorted((np.array(robot.joint(coupling.joint).limits) - coupling.b) / coupling.k)
        low[index], high[index] = max(low[index], ends[0]), min(high[index], ends[1])
    span = margin * (high - low)
    return np.random.default_rng(seed).uniform(low + span, high - span, (count, len(low)))


def coupling_error(robot: RobotSpec, joints: np.ndarray) -> np.ndarray:
    """|q_u - (k q_a + b)|, (n, couplings) rad."""
    return np.abs(joints - robot.expand_coupled(joints[:, robot.command_index]))[:, robot.coupled_index]


def coupling_error_mm(backend: MujocoBackend) -> float:
    """How far the fingertips are from where exact couplings would put them; the worst of all."""
    robot, count = backend.scene.robot, backend.num_envs
    tips = backend.state.fingertip_position.numpy().copy()
    exact = make_backend(robot, count)
    start(exact, backend.state.joint_position.numpy()[:, robot.command_index])
    return 1e3 * float(np.linalg.norm(tips - exact.state.fingertip_position.numpy(), axis=-1).max())


# -- kinematics and the description ------------------------------------------------------------------------------------


def test_fingertips_agree_with_the_vendors_urdf(robot):
    pin = pytest.importorskip("pinocchio", exc_type=ImportError)
    folder = find_meshes()
    if folder is None:
        pytest.skip("fourier-robot-descriptions is not installed")
    model = pin.buildModelFromUrdf(str(urdf_path(robot, folder)))
    data = model.createData()
    suffix = "tip_link" if robot.hand == "fourier" else "tip"
    frames = [model.getFrameId(f"{t.side[0].upper()}_{t.name.split('_')[1]}_{suffix}") for t in robot.fingertips]
    index = [model.joints[model.getJointId(name)].idx_q for name in robot.joint_names]

    commands = random_commands(robot, 1000, margin=0.0)
    joints = robot.expand_coupled(commands)
    expected = np.zeros((1000, len(frames), 3))
    for i, values in enumerate(joints):
        q = pin.neutral(model)
        q[index] = values
        pin.framesForwardKinematics(model, data, q)
        expected[i] = [data.oMf[frame].translation for frame in frames]

    backend = make_backend(robot, 1000)
    start(backend, commands)
    worst = np.linalg.norm(backend.state.fingertip_position.numpy() - expected, axis=-1).max()
    print(f"\n{robot.name}: fingertips within {1e6 * worst:.3f} um of the vendor's URDF")
    assert worst < 1e-4


def test_commands_are_in_the_order_of_a_log(robot):
    assert list(robot.commands) == JOINT_ORDER


def test_limits_efforts_and_speeds_are_the_vendors(robot):
    files = [json.loads((assets_dir() / "robots" / f"{name}.json").read_text()) for name in ("gr1t2", robot.name)]
    listed = {joint["name"]: joint for file in files for joint in file["joints"]}
    for joint in robot.moving_joints:
        values = listed[joint.name]
        assert joint.limits == tuple(values["range_rad"])
        if values["effort_nm"]:
            assert (joint.effort, joint.velocity) == (values["effort_nm"], values["velocity_rad_s"])
        else:
            assert joint.effort > 0
            assert joint.velocity > 0


def test_limits_and_efforts_reach_the_simulation(robot):
    model = make_backend(robot, 1).model
    for i, name in enumerate(robot.commands):
        joint = robot.joint(name)
        assert tuple(model.joint(name).range) == joint.limits
        assert tuple(model.actuator_ctrlrange[i]) == joint.limits
        assert tuple(model.actuator_forcerange[i]) == (-joint.effort, joint.effort)


def test_masses_and_inertias_are_physical(robot):
    total = sum(link.mass for link in robot.links)
    assert total == pytest.approx({"fourier": 23.065, "inspire": 22.564}[robot.hand], abs=1e-3)
    model = make_backend(robot, 1).model
    assert model.body_mass.sum() == pytest.approx(total, abs=1e-3)
    for link in (link for link in robot.links if link.mass > 0):
        xx, yy, zz, xy, xz, yz = link.inertia
        moments = np.linalg.eigvalsh([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        assert moments[0] > 0, link.name
        assert moments[0] + moments[1] >= moments[2] * (1 - 1e-6) - 1e-8, link.name  # the vendor rounds to 1e-8


def test_reset_writes_the_coupled_joints(robot):
    backend = make_backend(robot, 8)
    commands = random_commands(robot, 8)
    start(backend, commands)
    joints = backend.state.joint_position.numpy()
    assert np.array_equal(joints[:, robot.command_index], commands)
    assert coupling_error(robot, joints).max() == 0.0
    for coupling in robot.couplings:
        expected = coupling.k * joints[:, robot.joint_names.index(coupling.source)] + coupling.b
        assert joints[:, robot.joint_names.index(coupling.joint)] == pytest.approx(expected)


# -- collisions --------------------------------------------------------------------------------------------------------


def may_touch(a, b) -> bool:
    """Whether two shapes, each (body, region, side), should feel each other."""
    (_, region_a, side_a), (body_b, region_b, side_b) = sorted((a, b), key=lambda shape: shape[1])
    regions = {region_a, region_b}
    if regions == {"arm", "torso"}:
        return False  # the torso's shape is wider than the torso
    if regions == {"forearm", "hand"} and side_a == side_b:
        return not body_b.endswith("hand_base_link")  # the palm is next to its forearm
    return side_a != side_b or not regions <= {"arm", "forearm", "hand"}


def test_what_overlaps_collides_as_it_should(robot):
    """Random arms, a box in one hand: pairs that overlap in space touch exactly where the rules let them."""
    scene = Scene(robot, objects=(ObjectSpec("box", "box", (0.1, 0.1, 0.1), 0.1),))
    backend = MujocoBackend(scene, 1, threads=1)
    model, data, joints = backend.model, mujoco.MjData(backend.model), len(robot.joint_names)
    shapes = {model.geom("table").id: ("world", "table", ""), model.geom("box").id: ("box", "object", "")}
    for link in robot.links:
        for i, primitive in enumerate(link.primitives):
            shapes[model.geom(f"{link.name}_{i}").id] = (link.name, primitive.region, primitive.side)
    static = {"torso", "table", "object"}  # how these meet each other is not the robot's affair
    pairs = [(a, b) for a in shapes for b in shapes if a < b and not {shapes[a][1], shapes[b][1]} <= static]

    seen: Counter = Counter()
    for i, commands in enumerate(random_commands(robot, 300, margin=0.0)):
        if i % 2:  # both hands before the chest, where they meet
            arm = np.array([-0.88, -0.18, 0.09, -1.24]) + 0.1 * commands[[7, 8, 9, 10]]
            commands[:4], commands[13:17] = arm, arm * [1, -1, -1, 1] + 0.05
        data.qpos[:joints] = robot.expand_coupled(commands)
        mujoco.mj_forward(model, data)
        side = ("left", "right")[i % 2]
        inside = data.geom(shape_of(robot, "arm", side)) if i % 3 == 0 else data.site(f"palm_{side}")
        data.qpos[joints : joints + 3] = inside.xpos
        mujoco.mj_forward(model, data)
        touching = {tuple(sorted(contact.geom)) for contact in data.contact}
        for a, b in pairs:
            reach = model.geom_rbound[a] + model.geom_rbound[b]
            near = "table" in (shapes[a][1], shapes[b][1]) or math.dist(data.geom_xpos[a], data.geom_xpos[b]) < reach
            if near and mujoco.mj_geomDistance(model, data, a, b, 0.01, None) < -2e-3:
                assert ((a, b) in touching) == may_touch(shapes[a], shapes[b]), (shapes[a], shapes[b])
                seen[_kind(shapes[a], shapes[b])] += 1
    print(f"\n{robot.name}: overlapping pairs looked at: {dict(seen)}")
    # A hand does not reach its own forearm within the limits of the wrist.
    for other in ("hand", "object", "table", "torso", "other forearm", "other arm", "own hand"):
        assert seen[f"hand and {other}"] > 0, other
    assert seen["arm and object"] > 0
    assert seen["arm and torso"] > 0


def shape_of(robot: RobotSpec, region: str, side: str) -> str:
    """The longest shape of a region."""
    shapes = [
        (primitive.size[1], f"{link.name}_{i}")
        for link in robot.links
        for i, primitive in enumerate(link.primitives)
        if (primitive.region, primitive.side) == (region, side)
    ]
    return max(shapes)[1]


def _kind(a, b) -> str:
    a, b = sorted((a, b), key=lambda shape: ("hand", "forearm", "arm", "object", "table", "torso").index(shape[1]))
    other = {True: "own ", False: "other "}[a[2] == b[2]] if b[1] in ("hand", "forearm", "arm") else ""
    return f"{a[1]} and {other}{b[1]}".replace("other hand", "hand")


def test_bits_say_what_the_table_says():
    for first, second in itertools.product(PARTS, repeat=2):
        (kind, affinity), (other_kind, other_affinity) = collision_bits(*first), collision_bits(*second)
        assert may_touch_by_table(first, second) == may_touch_by_table(second, first)
        assert bool(kind & other_affinity) == bool(other_kind & affinity) == may_touch_by_table(first, second)


@pytest.mark.parametrize("side", SIDES)
def test_an_arm_laid_onto_the_table_stops(robot, side):
    """The upper arm, lifted sideways, is told to hang down; a narrow table is below it alone."""
    raised, hanging = (rest_pose(robot) for _ in range(2))
    roll = robot.commands.index(f"{side}_shoulder_roll_joint")
    raised[roll] = 1.2 if side == "left" else -1.2
    probe = make_backend(robot, 1)
    start(probe, raised[None])
    name, radius = shape_of(robot, "arm", side), 0.033
    x, y, z = geom(probe, name).xpos
    low = z - 0.1  # the arm's middle has to sink by so much until it lies on it
    backend = make_backend(robot, 1, table=Table(size=(0.05, 0.05, 0.04), position=(x, y, low - radius)))
    start(backend, raised[None])
    backend.set_joint_targets(torch.from_numpy(hanging[None]))
    angle = [q[0, robot.command_index[roll]] for q in run(backend, 2.0)]
    arm, table = backend.model.geom(name).id, backend.model.geom("table").id
    data = backend.batch.get_data(0)
    mujoco.mj_forward(backend.model, data)
    depth = -mujoco.mj_geomDistance(backend.model, data, arm, table, 0.1, None)
    print(f"\n{robot.name} {side}: the arm lies on the table at {abs(angle[-1]):.2f} rad, {1e3 * depth:.2f} mm deep")
    assert abs(angle[-1]) > 0.5, "it went through"
    assert abs(angle[-1] - angle[-20]) < 0.01
    assert -0.001 < depth < 0.003


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("region", ["arm", "forearm"])
def test_an_arm_pushes_what_is_beside_it(robot, region, side):
    """A box that floats beside the arm, its weight taken off."""
    pose, outward = rest_pose(robot), 1.0 if side == "left" else -1.0
    pose[[robot.joint(name).role == "elbow_pitch" for name in robot.commands]] = -1.4
    probe = make_backend(robot, 1)
    start(probe, pose[None])
    x, y, z = geom(probe, shape_of(robot, region, side)).xpos
    box = ObjectSpec("box", "box", (0.08, 0.08, 0.08), mass=0.1)
    backend = MujocoBackend(Scene(robot, NOWHERE, (box,)), 1, threads=1)
    place = torch.tensor([[[x, y + 0.085 * outward, z, 1.0, 0.0, 0.0, 0.0]]], dtype=torch.float64)
    commands = torch.from_numpy(pose[None])
    backend.reset(torch.arange(1), InitialState(torch.from_numpy(robot.expand_coupled(pose[None])), commands, place))
    backend.batch.bind("xfrc_applied")[0, backend.model.body("box").id, 2] = 9.81 * box.mass
    list(run(backend, 0.3))
    assert torch.allclose(backend.state.object_pose, place, atol=1e-4), "touched before it was pushed"
    pose[robot.commands.index(f"{side}_shoulder_roll_joint")] += 0.35 * outward
    backend.set_joint_targets(torch.from_numpy(pose[None]))
    list(run(backend, 0.5))
    moved = float(backend.state.object_pose[0, 0, 1] - place[0, 0, 1]) * outward
    print(f"\n{robot.name}: the {side} {region} pushes the box by {1e3 * moved:.0f} mm")
    assert moved > 0.01


def geom(backend: MujocoBackend, name: str):
    """Where a shape of the first simulation is."""
    data = backend.batch.get_data(0)
    mujoco.mj_forward(backend.model, data)
    return data.geom(name)


# -- drives ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timestep", TIMESTEPS)
def test_holds_its_pose_under_gravity(robot, timestep):
    commands = random_commands(robot, 32)
    backend = make_backend(robot, 32, timestep, collide=False)
    start(backend, commands)
    joints = list(run(backend, 2.0))[-1]
    error = np.abs(joints[:, robot.command_index] - commands).max(axis=0)
    for part, mask in (("arm", ~robot.is_hand), ("hand", robot.is_hand)):
        print(f"\n{robot.name} at {timestep} s: {part} holds to {1e3 * error[mask].max():.2f} mrad", end="")
    assert error[~robot.is_hand].max() < 0.012
    assert error[robot.is_hand].max() < 0.03  # the fingers carry their own weight
    assert float(backend.state.joint_velocity.abs().max()) < 1e-3


@pytest.mark.parametrize("timestep", TIMESTEPS)
def test_every_joint_settles_after_a_step(robot, timestep):
    count = len(robot.commands)
    start_at = rest_pose(robot)
    low, high = robot.command_limits.T
    stride = np.where(robot.is_hand, 0.5 * (np.array(robot.closed_position) - robot.open_position), 0.2)
    stride = np.where((start_at + stride > high) | (start_at + stride < low), -stride, stride)
    targets = np.tile(start_at, (count, 1)) + np.diag(stride)
    backend = make_backend(robot, count, timestep, collide=False)
    start(backend, np.tile(start_at, (count, 1)))
    backend.set_joint_targets(torch.from_numpy(targets))
    moved = np.array([np.diag(q[:, robot.command_index]).copy() for q in run(backend, 1.0)])
    share = (moved - start_at) / stride
    late = np.array([np.flatnonzero(np.abs(s - 1) > 0.05)[-1] + 1 for s in share.T]) * timestep
    overshoot = share.max(axis=0) - 1
    for part, mask in (("arm", ~robot.is_hand), ("hand", robot.is_hand)):
        figures = f"within 5% after {late[mask].max():.3f} s, overshoot {100 * overshoot[mask].max():.1f}%"
        print(f"\n{robot.name} at {timestep} s: {part} {figures}", end="")
    assert late.max() < 0.45
    assert overshoot.max() < 0.25


@pytest.mark.parametrize("timestep", TIMESTEPS)
def test_stays_finite_when_targets_jump(robot, timestep):
    backend = make_backend(robot, 16, timestep)
    start(backend, random_commands(robot, 16, 1))
    fastest = 0.0
    for i in range(10):
        backend.set_joint_targets(torch.from_numpy(random_commands(robot, 16, 2 + i)))
        for _ in run(backend, 0.2):
            fastest = max(fastest, float(backend.state.joint_velocity.abs().max()))
    assert fastest < 150.0  # rad/s


# -- couplings ---------------------------------------------------------------------------------------------------------


def test_couplings_hold_when_a_fingertip_is_pressed(robot):
    """5 N on each fingertip, from six directions."""
    commands = rest_pose(robot) + 0.4 * robot.is_hand * (np.array(robot.closed_position) - robot.open_position)
    directions = np.concatenate([np.eye(3), -np.eye(3)])
    count = len(robot.fingertips) * len(directions)
    backend = make_backend(robot, count)
    start(backend, np.tile(commands, (count, 1)))
    model, data = backend.model, backend.batch.get_data(0)
    mujoco.mj_forward(model, data)
    wrench = backend.batch.bind("xfrc_applied")
    for i in range(count):
        tip, force = robot.fingertips[i // 6], 5.0 * directions[i % 6]
        body = model.body(tip.link).id
        wrench[i, body, :3] = force
        wrench[i, body, 3:] = np.cross(data.site(f"tip_{tip.name}").xpos - data.xipos[body], force)
    errors = np.array([coupling_error(robot, q).max() for q in run(backend, 1.5)])
    distance = coupling_error_mm(backend)
    figures = f"{1e3 * errors[-1]:.2f} mrad = {distance:.3f} mm at rest, {1e3 * errors.max():.1f} mrad at worst"
    print(f"\n{robot.name}: couplings under 5 N: {figures}")
    assert errors[-1] < 0.01
    assert distance < 0.5
    assert errors.max() < 0.06


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("seconds", [0.5, 0.0])
def test_couplings_hold_while_closing_on_a_rigid_object(robot, side, seconds):
    """A bar across the palm; the hand closes in half a second, as fast as a policy may, or is told to all at once."""
    pose = rest_pose(robot)
    probe = make_backend(robot, 1)
    start(probe, pose[None])
    x, y, z = probe.state.palm_pose[0, ("left", "right").index(side), :3].tolist()
    backend = make_backend(robot, 1, table=Table(size=(0.16, 0.04, 0.04), position=(x, y, z + 0.01)))
    start(backend, pose[None])
    closed = np.where(robot.is_hand, robot.closed_position, pose)
    worst = 0.0
    for i in range(20):
        share = min(1.0, 0.1 * (i + 1) / seconds) if seconds else 1.0
        backend.set_joint_targets(torch.from_numpy(pose + share * (closed - pose))[None])
        worst = max(worst, *(coupling_error(robot, q).max() for q in run(backend, 0.1)))
    steady = coupling_error(robot, backend.state.joint_position.numpy()).max()
    figures = f"{1e3 * steady:.2f} mrad = {coupling_error_mm(backend):.3f} mm at rest, {1e3 * worst:.0f} mrad at worst"
    print(f"\n{robot.name} {side} closing in {seconds} s: {figures}")
    short = np.abs(backend.state.joint_position.numpy()[0, robot.command_index] - closed)[robot.is_hand].max()
    assert short > 0.2, "nothing was in the way"
    assert steady < 0.01
    assert worst < (0.06 if seconds else 0.25)


@pytest.mark.parametrize("name", ROBOTS)
def test_hands_reach_the_ends_of_their_range(name):
    robot = load(name)
    ends = robot.command_limits.T.copy()
    backend = make_backend(robot, 2, collide=False)
    start(backend, ends)
    joints = list(run(backend, 1.5))[-1]
    assert coupling_error(robot, joints).max() < 0.01
    assert np.abs(joints[:, robot.command_index] - ends)[:, robot.is_hand].max() < 0.04
