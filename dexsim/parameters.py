"""Physical parameters by name: what randomization samples, what real-to-sim will search, what a backend applies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Mapping, Tuple

import torch
from torch import Tensor

from dexsim.errors import UserError
from dexsim.scene import Scene


@dataclass(frozen=True)
class Parameter:
    """One named physical parameter.

    Attributes:
        name: its name.
        unit: SI unit, "1" for none.
        per: what it has one value of: "command" (26 joints), "object" (K), "object_axis" (K * 3) or "robot" (1).
        bounds: physically sensible lowest and highest value.
    """

    name: str
    unit: str
    per: str
    bounds: Tuple[float, float]


PARAMETERS: Dict[str, Parameter] = {
    p.name: p
    for p in (
        Parameter("joint_stiffness", "N m/rad", "command", (0.01, 2000.0)),
        Parameter("joint_damping", "N m s/rad", "command", (0.0, 200.0)),
        Parameter("hand_friction", "1", "robot", (0.0, 5.0)),
        Parameter("object_mass", "kg", "object", (1e-3, 50.0)),
        Parameter("object_friction", "1", "object", (0.0, 5.0)),
        Parameter("object_size", "m", "object_axis", (1e-3, 2.0)),
        # Which of `ObjectSpec.choices` it is.
        Parameter("object_choice", "1", "object", (0.0, 63.0)),
    )
}
HAND_FRICTION = 1.0
# Shapes whose extents are not free: which extent each follows.
ROUND = {"cylinder": (0, 0, 2), "sphere": (0, 0, 0)}


def nominal(scene: Scene) -> Dict[str, Tensor]:
    """Nominal value of every parameter in a scene, float64, (k,) each; object_size is (K * 3,)."""
    joints = [scene.robot.joint(name) for name in scene.robot.commands]
    values = {
        "joint_stiffness": [joint.stiffness for joint in joints],
        "joint_damping": [joint.damping for joint in joints],
        "hand_friction": [HAND_FRICTION],
        "object_mass": [item.mass for item in scene.objects],
        "object_friction": [item.friction for item in scene.objects],
        "object_size": [extent for item in scene.objects for extent in item.size],
        "object_choice": [0.0 for _ in scene.objects],
    }
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


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

    def values(self, choice: Tensor) -> Dict[str, Tensor]:
        """Nominal parameters (n, k) of the objects that were chosen, (n, K) int64."""
        item = torch.arange(len(self.counts))
        values = {name: table[item, choice].flatten(1) for name, table in self._tables.items()}
        return {**values, "object_choice": choice.to(torch.float64)}

    def fit_scale(self, scale: Tensor, choice: Tensor) -> Tensor:
        """Scales (n, 3 * K) of extents as their choice (n, K) allows: round ones stay round, meshes as they are."""
        item = torch.arange(len(self.counts))
        axes = self._axes[item, choice]
        return scale.view(axes.shape).gather(2, axes).masked_fill(self._fixed[item, choice][..., None], 1.0).flatten(1)


def repeat(values: Mapping[str, Tensor], count: int) -> Dict[str, Tensor]:
    """The same values for `count` environments, name -> (count, k)."""
    return {name: value.repeat(count, 1) for name, value in values.items()}


def check(values: Mapping[str, Tensor]) -> None:
    """Raise UserError for a name that does not exist or a value outside its bounds."""
    for name, value in values.items():
        if name not in PARAMETERS:
            raise UserError(f"unknown physical parameter {name!r}; allowed: {', '.join(PARAMETERS)}")
        low, high = PARAMETERS[name].bounds
        if value.numel() and not (low <= float(value.min()) and float(value.max()) <= high):
            raise UserError(
                f"{name} from {float(value.min()):g} to {float(value.max()):g}; allowed: {low:g} to {high:g} "
                f"{PARAMETERS[name].unit}"
            )
