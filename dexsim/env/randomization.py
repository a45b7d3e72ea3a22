"""Domain randomization: Table 4 of arXiv 2502.20396, but for its camera rows; and what a robot's drives may be like.

How the drives vary is in `dexsim/env/drives.py`. How the table's units are read here:

- Joint observation noise N(0, 0.4) and action noise N(0, 0.1) are on normalized values: joint positions as fractions
  of the range (-1 lower limit, 1 upper limit), actions in [-1, 1]. In rad, 0.4 would leave no controllable robot.
- Object position noise 0.02 is the standard deviation of Gaussian noise in m.
- Initial position +U(-0.02, 0.02): m (the table says cm; its size says m).
- The random force: each 0.1 s a force is drawn anew with probability 0.2, its components N(0, 1) times scale times
  the object's mass (so the scale is an acceleration in m/s^2, as in Isaac Gym's tasks); between draws it decays by 0.99
  each 0.1 s.
- Lag probabilities are per policy step: with frame lag the actor sees its last frame again, with action lag the last
  action acts again.
- Gains, frictions, mass and shape are drawn once an episode. Gains are scaled joint by joint. Contact friction is the
  larger of the two sides' (MuJoCo's rule).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from dexsim.env.draws import EpisodeDraws
from dexsim.errors import require
from dexsim.parameters import CONTACT, PARAMETERS, Choices

Range = tuple[float, float]
# Of ranges that have no parameter's name; a logarithm needs more than zero.
OTHER_BOUNDS: dict[str, Range] = {"arm_joint_friction": (1e-3, 50.0), "hand_joint_friction": (1e-3, 50.0)}
MOST_SPREAD = 10.0


# Settings by which a robot's own constants vary, or others take their place.
OF_ROBOT = (
    "link_gravity_compensation", "joint_lag", "joint_delay", "arm_joint_friction", "hand_joint_friction",
    "joint_stiffness_spread", "joint_damping_spread", "joint_armature_spread", "joint_friction_spread",
    "joint_lag_spread", "joint_delay_spread", "joint_bias_spread", "link_mass_spread",
    "link_gravity_compensation_spread", "robot_intervals",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RandomizationSettings:
    """What varies, and how much; None or 0 leaves a thing at nominal. Units as in the module's text.

    Attributes:
        object_mass: kg.
        object_friction: sliding friction coefficient.
        object_scale: factor on each extent of the object.
        hand_friction: sliding friction coefficient.
        stiffness_scale: factor on each P gain.
        damping_scale: factor on each D gain.
        initial_position: object's initial position, +- m, horizontal.
        initial_yaw: object's initial yaw, +- rad.
        force_scale: m/s^2.
        force_probability: chance of a new force each 0.1 s.
        force_decay: factor each 0.1 s.
        object_position_noise: m.
        joint_noise: normalized units.
        action_noise: normalized units.
        frame_lag: probability.
        action_lag: probability.
        contact_time: s, in which contacts of hands, objects and table recover; the longer, the softer.
        contact_damping_ratio: of these contacts, 1 for critical.
        link_gravity_compensation: share of its weight that the drives take off, one draw for each arm and hand.
        joint_lag: time constant of each drive, s.
        joint_delay: s, one draw for each arm and hand.
        arm_joint_friction: dry friction of each arm joint, N m, even by its logarithm.
        hand_joint_friction: of each hand joint.
        joint_stiffness_spread: standard deviation of each P gain, as of all positive constants of the logarithm.
        joint_damping_spread: of each D gain.
        joint_armature_spread: of each armature.
        joint_friction_spread: of each dry friction.
        joint_lag_spread: of each lag.
        joint_delay_spread: s, one draw for each arm and hand.
        joint_bias_spread: of each encoder's bias, rad.
        link_mass_spread: of each link's mass.
        link_gravity_compensation_spread: of the share, one draw for each arm and hand.
        robot_intervals: constants whose 95% interval `robot.tuned` states vary by that, times this, not by the spreads.
    """

    object_mass: Range | None
    object_friction: Range | None
    object_scale: Range | None
    hand_friction: Range | None
    stiffness_scale: Range | None
    damping_scale: Range | None
    initial_position: float
    initial_yaw: float
    force_scale: float
    force_probability: float
    force_decay: float
    object_position_noise: float
    joint_noise: float
    action_noise: float
    frame_lag: float
    action_lag: float
    contact_time: Range | None
    contact_damping_ratio: Range | None
    link_gravity_compensation: Range | None
    joint_lag: Range | None
    joint_delay: Range | None
    arm_joint_friction: Range | None
    hand_joint_friction: Range | None
    joint_stiffness_spread: float
    joint_damping_spread: float
    joint_armature_spread: float
    joint_friction_spread: float
    joint_lag_spread: float
    joint_delay_spread: float
    joint_bias_spread: float
    link_mass_spread: float
    link_gravity_compensation_spread: float
    robot_intervals: float

    def __post_init__(self) -> None:
        """Refuse ranges that cannot be."""
        for field in fields(self):
            value, name = getattr(self, field.name), field.name
            if isinstance(value, tuple):
                low, high = PARAMETERS[name].bounds if name in PARAMETERS else OTHER_BOUNDS.get(name, (0.01, 100.0))
                allowed = f"[low, high] with {low:g} <= low <= high <= {high:g}"
                require(low <= value[0] <= value[1] <= high, name, list(value), allowed)
            elif value is not None:
                share = name.endswith(("probability", "lag", "decay"))
                most = 1 if share else MOST_SPREAD if name.endswith(("spread", "intervals")) else math.inf
                require(0 <= value <= most, name, value, "0 or more" if most == math.inf else f"0 to {most:g}")


def draw_parameters(
    settings: RandomizationSettings,
    nominal: Mapping[str, Tensor],
    draws: EpisodeDraws,
    choices: Choices,
) -> dict[str, Tensor]:
    """Physical parameters of some episodes: name -> (n, k), of those that vary; the others stay at nominal.

    Args:
        settings: what varies.
        nominal: name -> (k,).
        draws: of the episodes.
        choices: the objects that there are to choose from, each as likely as the others.
    """
    values: dict[str, Tensor] = {}
    if choices.any:
        drawn = [draws.index(f"object_choice_{i}", count) for i, count in enumerate(choices.counts)]
        values = choices.values(torch.stack(drawn, dim=1))
    for name in ("object_mass", "object_friction", "hand_friction", *CONTACT):
        interval = getattr(settings, name)
        if interval:
            values[name] = draws.uniform(name, 1 if name in CONTACT else len(nominal[name]), *interval)
    for name, interval in (
        ("joint_stiffness", settings.stiffness_scale),
        ("joint_damping", settings.damping_scale),
        ("object_size", settings.object_scale),
    ):
        if interval:
            scale = draws.uniform(name, len(nominal[name]), *interval)
            if name == "object_size":
                scale = choices.fit_scale(scale, values.get("object_choice"))
            values[name] = values.get(name, nominal[name]) * scale
    return values


class RandomForce:
    """The decaying random force on each object.

    Args:
        settings: its scale, probability and decay.
        shape: (N, K).
        dt: policy period in s.
        device: where the tensors are.
    """

    def __init__(
        self,
        settings: RandomizationSettings,
        shape: tuple[int, int],
        dt: float,
        device: torch.device | str | None = None,
    ) -> None:
        self._scale = settings.force_scale
        self._probability = 1 - (1 - settings.force_probability) ** (dt / 0.1)
        self._decay = settings.force_decay ** (dt / 0.1)
        self.wrench = torch.zeros(*shape, 6, device=device)

    @property
    def active(self) -> bool:
        """Whether there is any force at all."""
        return self._scale > 0 and self._probability > 0

    def step(self, mass: Tensor, generator: torch.Generator) -> Tensor:
        """Wrench (N, K, 6) for the next policy step; `mass` is (N, K) in kg."""
        count, objects = mass.shape
        device = mass.device
        force = torch.randn(count, objects, 3, generator=generator, device=device)
        force = force * (self._scale * mass)[..., None].float()
        fresh = torch.rand(count, objects, 1, generator=generator, device=device) < self._probability
        self.wrench[..., :3] = torch.where(fresh, force, self.wrench[..., :3] * self._decay)
        return self.wrench
