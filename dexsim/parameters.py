"""Physical parameters by name: what randomization samples, what real-to-sim searches, what a backend applies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dexsim.errors import UserError
from dexsim.robots.constants import OWNERS, constants
from dexsim.scene import Scene


@dataclass(frozen=True)
class Parameter:
    """One named physical parameter.

    Attributes:
        name: its name.
        unit: SI unit, "1" for none.
        per: what it has one value of: "command" (26 joints), "joint_axis" (J * 3 of the moving joints), "link" and
            "link_axis" (those that move), "coupling", "object" (K), "object_axis" (K * 3) or "robot" (1).
        bounds: physically sensible lowest and highest value.
        text: what it is.
    """

    name: str
    unit: str
    per: str
    bounds: tuple[float, float]
    text: str


def _of_robot(name: str, unit: str, bounds: tuple[float, float], text: str) -> Parameter:
    return Parameter(name, unit, OWNERS[name], bounds, text)


PARAMETERS: dict[str, Parameter] = {
    p.name: p
    for p in (
        _of_robot("joint_stiffness", "N m/rad", (0.01, 2000.0), "P gain of the position drive"),
        _of_robot("joint_damping", "N m s/rad", (0.0, 200.0), "D gain of the drive, and viscous friction"),
        _of_robot("joint_armature", "kg m^2", (0.0, 5.0), "rotor inertia, reflected through the gear"),
        _of_robot("joint_friction", "N m", (0.0, 50.0), "dry friction"),
        _of_robot("joint_effort", "N m", (1e-3, 1000.0), "largest torque of the drive"),
        _of_robot("joint_delay", "s", (0.0, 0.25), "from sending a target to the drive's receiving it"),
        _of_robot("joint_lag", "s", (0.0, 1.0), "time constant of the drive's first-order target filter"),
        _of_robot("joint_bias", "rad", (-0.5, 0.5), "measured minus true position"),
        _of_robot("joint_lower", "rad", (-6.3, 6.3), "lower limit"),
        _of_robot("joint_upper", "rad", (-6.3, 6.3), "upper limit"),
        _of_robot("joint_origin", "m", (-1.0, 1.0), "the joint's place in the link above"),
        _of_robot("link_mass", "kg", (1e-4, 50.0), "mass; the inertia follows it"),
        _of_robot("link_inertia", "1", (0.05, 20.0), "factor on the link's inertia"),
        _of_robot("link_gravity_compensation", "1", (0.0, 2.0), "share of its weight that the drives take off"),
        _of_robot("link_com", "m", (-1.0, 1.0), "centre of mass in the link"),
        _of_robot("link_origin", "m", (-1.0, 1.0), "shift of the link's mass and shapes within its joint's frame"),
        _of_robot("coupling_k", "1", (-5.0, 5.0), "slope of an underactuated joint on its source"),
        _of_robot("coupling_b", "rad", (-3.2, 3.2), "offset of an underactuated joint"),
        Parameter("hand_friction", "1", "robot", (0.0, 5.0), "sliding friction of the hands"),
        Parameter("object_mass", "kg", "object", (1e-3, 50.0), "mass"),
        Parameter("object_friction", "1", "object", (0.0, 5.0), "sliding friction"),
        Parameter("object_size", "m", "object_axis", (1e-3, 2.0), "full extents"),
        Parameter("object_choice", "1", "object", (0.0, 63.0), "which of `ObjectSpec.choices` it is"),
    )
}
# What an environment keeps a value of for each episode. A robot's other constants differ between environments in
# real-to-sim only.
EPISODE = (
    "joint_stiffness", "joint_damping", "hand_friction", "object_mass", "object_friction", "object_size",
    "object_choice",
)  # fmt: skip
HAND_FRICTION = 1.0
# Shapes whose extents are not free: which extent each follows.
ROUND = {"cylinder": (0, 0, 2), "sphere": (0, 0, 0)}


def nominal(scene: Scene) -> dict[str, Tensor]:
    """Nominal value of every parameter of an episode, float64, (k,) each; object_size is (K * 3,)."""
    robot = constants(scene.robot)
    values = {
        "joint_stiffness": robot["joint_stiffness"].tolist(),
        "joint_damping": robot["joint_damping"].tolist(),
        "hand_friction": [HAND_FRICTION],
        "object_mass": [item.mass for item in scene.objects],
        "object_friction": [item.friction for item in scene.objects],
        "object_size": [extent for item in scene.objects for extent in item.size],
        "object_choice": [0.0 for _ in scene.objects],
    }
    return {name: torch.tensor(values[name], dtype=torch.float64) for name in EPISODE}


class Choices:
    """Nominal values of what may lie in the place of each object.

    Args:
        scene: the scene.
    """

    def __init__(self, scene: Scene) -> None:
        """See the class."""
        self.counts = [len(item.choices) for item in scene.objects]
        self.any = any(count > 1 for count in self.counts)
        fill = [item.choices + (item,) * (max(self.counts) - len(item.choices)) for item in scene.objects]
        self._tables = {
            "object_mass": torch.tensor([[c.mass for c in row] for row in fill], dtype=torch.float64),
            "object_friction": torch.tensor([[c.friction for c in row] for row in fill], dtype=torch.float64),
            "object_size": torch.tensor([[c.size for c in row] for row in fill], dtype=torch.float64),
        }
        self._fixed = torch.tensor([[c.shape == "mesh" for c in row] for row in fill])
        # The axis whose scale each extent follows: round shapes stay round.
        self._axes = torch.tensor([[ROUND.get(c.shape, (0, 1, 2)) for c in row] for row in fill])

    def values(self, choice: Tensor) -> dict[str, Tensor]:
        """Nominal parameters (n, k) of the objects that were chosen, (n, K) int64."""
        item = torch.arange(len(self.counts))
        values = {name: table[item, choice].flatten(1) for name, table in self._tables.items()}
        return {**values, "object_choice": choice.to(torch.float64)}

    def fit_scale(self, scale: Tensor, choice: Tensor) -> Tensor:
        """Scales (n, 3 * K) of extents as their choice (n, K) allows: round ones stay round, meshes as they are."""
        item = torch.arange(len(self.counts))
        axes = self._axes[item, choice]
        return scale.view(axes.shape).gather(2, axes).masked_fill(self._fixed[item, choice][..., None], 1.0).flatten(1)


def repeat(values: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """The same values for `count` environments, name -> (count, k)."""
    return {name: value.repeat(count, 1) for name, value in values.items()}


def check(values: Mapping[str, Tensor | np.ndarray]) -> None:
    """Raise UserError for a name that does not exist or a value outside its bounds."""
    for name, value in values.items():
        if name not in PARAMETERS:
            raise UserError(f"unknown physical parameter {name!r}; allowed: {', '.join(PARAMETERS)}")
        low, high = PARAMETERS[name].bounds
        if 0 not in value.shape and not (low <= float(value.min()) and float(value.max()) <= high):
            raise UserError(
                f"{name} from {float(value.min()):g} to {float(value.max()):g}; allowed: {low:g} to {high:g} "
                f"{PARAMETERS[name].unit}"
            )
