"""Physical parameters by name: what randomization samples, what real-to-sim searches, what a backend applies."""

from __future__ import annotations

from typing import Any

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
        Parameter("contact_time", "s", "scene", (1e-3, 1.0), "time in which contacts of hands and objects recover"),
        Parameter("contact_damping_ratio", "1", "scene", (0.05, 10.0), "damping of those contacts, 1 for critical"),
        Parameter("object_choice", "1", "object", (0.0, 1e6), "which of `ObjectSpec.choices` it is"),
    )
}
# What an environment keeps a value of for each episode. A robot's other constants differ between environments in
# real-to-sim only.
EPISODE = (
    "joint_stiffness", "joint_damping", "hand_friction", "object_mass", "object_friction", "object_size",
    "object_choice",
)  # fmt: skip
HAND_FRICTION = 1.0
# Of contacts between hands, objects and table; their nominal values, which are the engine's own.
CONTACT = {"contact_time": 0.02, "contact_damping_ratio": 1.0}
# Shapes whose extents are not free: which extent each follows.
ROUND = {"cylinder": (0, 0, 2), "sphere": (0, 0, 0)}


def nominal(scene: Scene, device: torch.device | str | None = None) -> dict[str, Tensor]:
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
    return {name: torch.tensor(values[name], dtype=torch.float64, device=device) for name in EPISODE}


class Choices:
    """Nominal values of what may lie in the place of each object.

    Args:
        scene: the scene.
        device: where the tensors are.
    """

    def __init__(self, scene: Scene, device: torch.device | str | None = None) -> None:
        self.counts = [len(item.choices) for item in scene.objects]
        self.any = any(count > 1 for count in self.counts)
        fill = [item.choices + (item,) * (max(self.counts) - len(item.choices)) for item in scene.objects]

        def table(rows: list[list[Any]], dtype: torch.dtype | None = None) -> Tensor:
            return torch.tensor(rows, dtype=dtype, device=device)

        self._tables = {
            "object_mass": table([[c.mass for c in row] for row in fill], torch.float64),
            "object_friction": table([[c.friction for c in row] for row in fill], torch.float64),
            "object_size": table([[c.size for c in row] for row in fill], torch.float64),
        }
        self._fixed = table([[c.shape == "mesh" for c in row] for row in fill])
        # The axis whose scale each extent follows: round shapes stay round.
        self._axes = table([[ROUND.get(c.shape, (0, 1, 2)) for c in row] for row in fill])
        self._item = torch.arange(len(self.counts), device=device)

    def values(self, choice: Tensor) -> dict[str, Tensor]:
        """Nominal parameters (n, k) of the objects that were chosen, (n, K) int64."""
        values = {name: table[self._item, choice].flatten(1) for name, table in self._tables.items()}
        return {**values, "object_choice": choice.to(torch.float64)}

    def fit_scale(self, scale: Tensor, choice: Tensor | None) -> Tensor:
        """Scales (n, 3 * K) of extents as their choice (n, K) allows: round ones stay round, meshes as they are.

        No choice stands for the first of each.
        """
        chosen = torch.zeros_like(scale[:, : len(self.counts)]) if choice is None else choice
        chosen = chosen.long()
        axes = self._axes[self._item, chosen]
        fixed = self._fixed[self._item, chosen][..., None]
        return scale.view(axes.shape).gather(2, axes).masked_fill(fixed, 1.0).flatten(1)
