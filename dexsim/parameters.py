"""Physical parameters by name: what randomization samples, what real-to-sim searches, what a backend applies."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dexsim.robots.constants import CONSTANTS, Parameter, constants
from dexsim.scene import Scene

PARAMETERS: dict[str, Parameter] = {
    p.name: p
    for p in (
        *CONSTANTS.values(),
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
