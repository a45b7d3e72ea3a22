"""What MuJoCo has of its own among the settings of a backend: how it solves for contact forces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dexsim.backends.base import BackendSettings
from dexsim.errors import require

if TYPE_CHECKING:
    from mujoco import MjSpec

CONES = ("pyramidal", "elliptic")
SOLVERS = ("newton", "cg", "pgs")
MOST_ITERATIONS, MOST_RATIO = 10_000, 1000.0


@dataclass(frozen=True, kw_only=True)
class MujocoSettings(BackendSettings):
    """Config section `backend` of MuJoCo; its values are in `cfg/backend/mujoco.yaml`.

    Attributes:
        cone: shape of the friction cones, one of `CONES`.
        solver: one of `SOLVERS`.
        iterations: of the solver, at most.
        ls_iterations: of its line search, at most.
        impratio: how much harder friction is than the normal force; above 1 makes elliptic cones slip less.
    """

    cone: str
    solver: str
    iterations: int
    ls_iterations: int
    impratio: float

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.cone in CONES, "cone", self.cone, f"one of {', '.join(CONES)}")
        require(self.solver in SOLVERS, "solver", self.solver, f"one of {', '.join(SOLVERS)}")
        for name in ("iterations", "ls_iterations"):
            value = getattr(self, name)
            require(1 <= value <= MOST_ITERATIONS, name, value, f"1 to {MOST_ITERATIONS}")
        require(0 < self.impratio <= MOST_RATIO, "impratio", self.impratio, f"above 0, up to {MOST_RATIO:g}")

    def apply(self, spec: MjSpec) -> None:
        """Write them into the options of a specification; the timestep is the scene's."""
        import mujoco

        option = spec.option
        option.cone = getattr(mujoco.mjtCone, f"mjCONE_{self.cone.upper()}")
        option.solver = getattr(mujoco.mjtSolver, f"mjSOL_{self.solver.upper()}")
        option.iterations, option.ls_iterations = self.iterations, self.ls_iterations
        option.impratio = self.impratio
