"""A scene is data: robot, table, objects. A backend compiles it; nobody else touches simulator handles."""

from __future__ import annotations

from dataclasses import dataclass, field

from dexsim.errors import UserError, unknown
from dexsim.robots import RobotSpec

Vec3 = tuple[float, float, float]
SHAPES = ("box", "cylinder", "sphere", "mesh")
Vertices = tuple[Vec3, ...]


@dataclass(frozen=True)
class Table:
    """A box that does not move.

    Attributes:
        size: full extents x, y, z in m.
        position: centre of its top face in m.
        friction: sliding friction coefficient.
    """

    size: tuple[float, float, float] = (0.6, 1.2, 0.04)
    position: tuple[float, float, float] = (0.55, 0.0, 0.0)
    friction: float = 1.0


@dataclass(frozen=True)
class ObjectSpec:
    """A free object: a primitive, or convex parts.

    Attributes:
        name: unique in the scene.
        shape: "box", "cylinder", "sphere" or "mesh".
        size: its full extents x, y, z in m; those of a mesh are its vertices' and cannot be scaled.
        mass: kg, spread evenly over the volume.
        friction: sliding friction coefficient.
        position: initial centre in m.
        rgba: colour when drawn.
        parts: of a mesh: vertices of each convex part in m, in the middle of its extents.
        alternatives: what may lie in its place, environment by environment: parameter `object_choice`, 0 for itself.
    """

    name: str
    shape: str
    size: tuple[float, float, float]
    mass: float
    friction: float = 1.0
    position: tuple[float, float, float] = (0.4, 0.0, 0.1)
    rgba: tuple[float, float, float, float] = (0.85, 0.55, 0.25, 1.0)
    parts: tuple[Vertices, ...] = ()
    alternatives: tuple[ObjectSpec, ...] = ()

    def __post_init__(self) -> None:
        """Refuse shapes that no backend builds and sizes that are none."""
        if self.shape not in SHAPES:
            raise UserError(f"object {self.name!r}: shape {self.shape!r}; allowed: {', '.join(SHAPES)}")
        if min(self.size) <= 0 or self.mass <= 0:
            raise UserError(f"object {self.name!r}: size {self.size} and mass {self.mass} must be positive")
        if (self.shape == "mesh") != bool(self.parts):
            raise UserError(f"object {self.name!r}: a mesh, and only a mesh, has convex parts")

    @property
    def choices(self) -> tuple[ObjectSpec, ...]:
        """Itself, then its alternatives."""
        return (self, *self.alternatives)


@dataclass(frozen=True)
class ContactPair:
    """Two things whose touching is reported.

    Attributes:
        name: what it is called.
        first: a robot link, with all links below it, or an object.
        second: an object or "table".
    """

    name: str
    first: str
    second: str


@dataclass(frozen=True)
class Scene:
    """What is simulated N times over.

    Attributes:
        robot: the robot; its base stands at the origin.
        table: the table.
        objects: the free objects.
        contacts: whose touching is reported.
        timestep: physics step in s.
        collisions: False where nothing is there to touch, and a step is to cost less.
        drive_dynamics: True where some copies' drives are to have delay, lag and dry friction though the robot's own
            may have none: an engine may have to be built with them.
    """

    robot: RobotSpec
    table: Table = field(default_factory=Table)
    objects: tuple[ObjectSpec, ...] = ()
    contacts: tuple[ContactPair, ...] = ()
    timestep: float = 0.01
    collisions: bool = True
    drive_dynamics: bool = False

    def __post_init__(self) -> None:
        """Refuse two objects of one name, and contact pairs of what is not there."""
        names = [o.name for o in self.objects]
        if len(set(names)) != len(names):
            raise UserError(f"scene: object names must differ, got {names}")
        links = [link.name for link in self.robot.links]
        for pair in self.contacts:
            for name, allowed in ((pair.first, [*names, *links]), (pair.second, [*names, "table"])):
                if name not in allowed:
                    raise unknown(f"contact pair {pair.name!r}: nothing is named {name!r}", name, allowed)

    @property
    def has_drive_dynamics(self) -> bool:
        """Whether targets reach any drive late or filtered, or may in some copy."""
        return self.drive_dynamics or self.robot.has_drive_dynamics
