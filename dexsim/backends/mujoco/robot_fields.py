"""A robot's constants in `mujoco.batch.Batch`: each name of `dexsim.robots.constants` as fields of the model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from dexsim.backends.mujoco.discrete import discrete_armature, engine_delay, friction_law, short_delay
from dexsim.backends.mujoco.robot import MIN_LAG
from dexsim.errors import UserError
from dexsim.robots.spec import RobotSpec

if TYPE_CHECKING:
    from mujoco import MjModel
    from mujoco.batch import Batch

# Names whose fields the engine derives others from.
_DERIVING = frozenset(
    {
        "joint_armature", "joint_origin", "link_mass", "link_inertia", "link_gravity_compensation", "link_com",
        "link_origin", "coupling_k", "coupling_b",
    }
)  # fmt: skip
Rows = Mapping[str, np.ndarray]


def set_friction(model: MjModel, robot: RobotSpec) -> None:
    """Make the dry friction of a compiled model independent of its time step; see `friction_law`."""
    if model.na:  # compiled with drive dynamics
        dofs, damping = robot.command_index, np.array([robot.joint(name).damping for name in robot.commands])
        rate, held = friction_law(1 / model.dof_invweight0[dofs], damping, model.opt.timestep)
        model.dof_solref[dofs], model.dof_solimp[dofs, :2] = np.stack([-np.ones_like(rate), -rate], 1), held[:, None]


class RobotFields:
    """Writes constants of the robot, simulation by simulation; a field is given its own values on first use.

    Args:
        model: the compiled model.
        batch: its batch.
        robot: the robot it was compiled from.

    Attributes:
        late: (N, A) share of the first physics step after a new target in which a drive still has the old one.
    """

    def __init__(self, model: MjModel, batch: Batch, robot: RobotSpec) -> None:
        """See the class."""
        self._model, self._batch, self._robot = model, batch, robot
        self._dofs = robot.command_index
        links = [link.name for link in robot.moving_links]
        self._links = np.array([model.body(name).id for name in links])
        child = {joint.name: joint.child for joint in robot.joints}
        self._children = np.array([model.body(child[name]).id for name in robot.joint_names])
        self._couplings = np.array([model.equality(f"coupling_{c.joint}").id for c in robot.couplings], dtype=int)
        # A link without mass and shape has no body; it carries nothing that an origin could move.
        self._geoms = [np.flatnonzero(model.geom_bodyid == body) for body in self._links]
        self._sites = [np.flatnonzero(model.site_bodyid == body) for body in self._links]
        self._origin = np.array([link.origin for link in robot.moving_links])
        self._fields: dict[str, np.ndarray] = {}
        delays = np.array([robot.joint(name).delay for name in robot.commands])
        self.late = np.tile(short_delay(delays, model.opt.timestep), (batch.nsim, 1))
        self._apply: dict[str, Callable[[np.ndarray, Rows], None]] = {
            "joint_stiffness": self._stiffness,
            "joint_damping": self._damping,
            "joint_armature": self._armature,
            "joint_friction": lambda i, v: self._set("dof_frictionloss", i, v["joint_friction"]),
            "joint_effort": self._effort,
            "joint_delay": self._delay,
            "joint_lag": self._lag,
            "joint_bias": lambda i, v: None,  # of the encoders, not of the joints: whoever measures adds it
            "joint_lower": self._limits,
            "joint_upper": self._limits,
            "joint_origin": lambda i, v: self._place(i, v["joint_origin"]),
            "link_mass": self._inertia,
            "link_inertia": self._inertia,
            "link_gravity_compensation": self._compensation,
            "link_com": self._mass_centres,
            "link_origin": self._origins,
            "coupling_k": lambda i, v: self._couple(i, 1, v["coupling_k"]),
            "coupling_b": lambda i, v: self._couple(i, 0, v["coupling_b"]),
        }

    def __contains__(self, name: str) -> bool:
        """Whether a parameter is a constant of the robot."""
        return name in self._apply

    def write(self, ids: np.ndarray, names: Collection[str], values: Rows) -> bool:
        """Bring some simulations up to date.

        Args:
            ids: (n,) of the simulations.
            names: which constants have changed; others than the robot's are passed over.
            values: every constant that was ever set, name -> (n, k).

        Returns:
            Whether the engine derives others of what was written: `Batch.set_const` is to follow, then `derived`.
        """
        done = set()
        for name in (name for name in names if name in self._apply):
            if self._apply[name] not in done:
                self._apply[name](ids, values)
                done.add(self._apply[name])
        return not _DERIVING.isdisjoint(names)

    def derived(self, ids: np.ndarray, values: Rows) -> None:
        """Bring up to date what follows from the constants that the engine has derived anew; `values` as in `write`."""
        if self._model.na:
            self._friction(ids, values)

    # -- drives --------------------------------------------------------------------------------------------------------

    def _field(self, name: str) -> np.ndarray:
        if name not in self._fields:
            self._fields[name] = self._batch.expand(name)
        return self._fields[name]

    def _set(self, field: str, ids: np.ndarray, value: np.ndarray) -> None:
        self._field(field)[ids[:, None], self._dofs] = value

    def _stiffness(self, ids: np.ndarray, values: Rows) -> None:
        self._field("actuator_gainprm")[ids, :, 0] = values["joint_stiffness"]
        self._field("actuator_biasprm")[ids, :, 1] = -values["joint_stiffness"]

    def _damping(self, ids: np.ndarray, values: Rows) -> None:
        self._field("actuator_biasprm")[ids, :, 2] = -values["joint_damping"]
        # Randomization leaves the armature that the nominal damping was compiled with: it costs nothing in a reset.
        if "joint_armature" in values:
            self._armature(ids, values)

    def _friction(self, ids: np.ndarray, values: Rows) -> None:
        """As `set_friction`, from what the engine has derived for each simulation."""
        inertia = 1 / self._field("dof_invweight0")[ids[:, None], self._dofs]
        rate, held = friction_law(inertia, values["joint_damping"], self._model.opt.timestep)
        self._field("dof_solref")[ids[:, None], self._dofs] = np.stack([-np.ones_like(rate), -rate], axis=-1)
        self._field("dof_solimp")[ids[:, None], self._dofs, :2] = held[..., None]

    def _armature(self, ids: np.ndarray, values: Rows) -> None:
        timestep, explicit = self._model.opt.timestep, self._model.na > 0
        armature = discrete_armature(values["joint_armature"], values["joint_damping"], timestep, explicit)
        self._set("dof_armature", ids, armature)

    def _effort(self, ids: np.ndarray, values: Rows) -> None:
        limits = np.stack([-values["joint_effort"], values["joint_effort"]], axis=-1)
        self._field("actuator_forcerange")[ids] = limits

    def _delay(self, ids: np.ndarray, values: Rows) -> None:
        self._need_dynamics("joint_delay", values)
        if self._model.na:
            self._field("actuator_delay")[ids] = engine_delay(values["joint_delay"], self._model.opt.timestep)
            self.late[ids] = short_delay(values["joint_delay"], self._model.opt.timestep)

    def _lag(self, ids: np.ndarray, values: Rows) -> None:
        self._need_dynamics("joint_lag", values)
        if self._model.na:
            self._field("actuator_dynprm")[ids, :, 0] = np.maximum(values["joint_lag"], MIN_LAG)

    def _need_dynamics(self, name: str, values: Rows) -> None:
        if not self._model.na and (values[name] > 0).any():
            raise UserError(f"{name} > 0 needs a scene whose robot has a delay or a lag from the start")

    def _limits(self, ids: np.ndarray, values: Rows) -> None:
        for column, name in enumerate(("joint_lower", "joint_upper")):
            if name in values:
                self._field("jnt_range")[ids[:, None], self._dofs, column] = values[name]
                self._field("actuator_ctrlrange")[ids, :, column] = values[name]

    # -- bodies --------------------------------------------------------------------------------------------------------

    def _place(self, ids: np.ndarray, origin: np.ndarray) -> None:
        self._field("body_pos")[ids[:, None], self._children] = origin.reshape(len(ids), -1, 3)

    def _inertia(self, ids: np.ndarray, values: Rows) -> None:
        model, links = self._model, self._links
        mass = values.get("link_mass", np.broadcast_to(model.body_mass[links], (len(ids), len(links))))
        own = np.array([link.inertia_factor for link in self._robot.moving_links])
        factor = values.get("link_inertia", np.broadcast_to(own, mass.shape))
        scale = mass / model.body_mass[links] * factor / own  # the compiled moments have their factor already
        self._field("body_mass")[ids[:, None], links] = mass
        self._field("body_inertia")[ids[:, None], links] = scale[..., None] * model.body_inertia[links]

    def _compensation(self, ids: np.ndarray, values: Rows) -> None:
        self._field("body_gravcomp")[ids[:, None], self._links] = values["link_gravity_compensation"]

    def _mass_centres(self, ids: np.ndarray, values: Rows) -> None:
        shape = (len(ids), len(self._links), 3)
        com = np.array([link.com for link in self._robot.moving_links])
        com = values["link_com"].reshape(shape) if "link_com" in values else np.broadcast_to(com, shape)
        origin = values["link_origin"].reshape(shape) if "link_origin" in values else self._origin
        self._field("body_ipos")[ids[:, None], self._links] = com + origin

    def _origins(self, ids: np.ndarray, values: Rows) -> None:
        self._mass_centres(ids, values)
        shift = values["link_origin"].reshape(len(ids), -1, 3) - self._origin
        for field, groups in (("geom_pos", self._geoms), ("site_pos", self._sites)):
            for link, group in enumerate(groups):
                moved = getattr(self._model, field)[group] + shift[:, None, link]
                self._field(field)[ids[:, None], group] = moved

    def _couple(self, ids: np.ndarray, column: int, value: np.ndarray) -> None:
        self._field("eq_data")[ids[:, None], self._couplings, column] = value
