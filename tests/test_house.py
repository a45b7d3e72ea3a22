"""The plan of rooms, held: who may import whom, no circle, folders that stay small, one border to NumPy."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("dexsim", "tasks", "real2sim", "distill", "deploy")
MOST_FILES = 13

# Room -> what it may import of this project; a room is a package or a module, and stands for all below it.
BASICS = ("dexsim.errors", "dexsim.files", "dexsim.paths", "dexsim.settings", "dexsim.rotations", "dexsim.registration")
ROBOT = ("dexsim.control", "dexsim.robots", "dexsim.cameras")
TASK_FILES = (
    "base", "box_lift", "grasp_and_reach", "bimanual_handover", "rewards", "markers", "hand_terms", "objects", "banks",
    "starts",
)  # fmt: skip
TASKS = tuple(f"tasks.{name}" for name in TASK_FILES)
# Whose package is imported where: a simulator's engine, and the learner's.
ENGINES = {
    "mujoco": ("dexsim.backends.mujoco", "dexsim.drawing", "tasks.recording", "tasks.verbs.bench", "real2sim"),
    "sapien": ("dexsim.backends.physx",),
    "rl_games": ("dexsim.rl",),
    "mink": ("tasks.recording",),
}
RULES: dict[str, tuple[str, ...]] = {
    # The real robot may import these three rooms: nothing in them simulates.
    **dict.fromkeys(ROBOT, (*ROBOT, *BASICS, "dexsim.__version__")),
    # A simulator knows scenes and robots, not tasks or learners.
    "dexsim.backends": ("dexsim.backends", "dexsim.scene", "dexsim.parameters", "dexsim.robots", *BASICS),
    # An environment knows a simulator by its interface.
    "dexsim.env": (
        "dexsim.env", "dexsim.backends.base", "dexsim.scene", "dexsim.parameters", "dexsim.__version__", *ROBOT,
        *BASICS,
    ),
    # A learner knows an environment by its contract.
    "dexsim.rl": (
        "dexsim.rl", "dexsim.env.contract", "dexsim.report", "dexsim.runs", "dexsim.__version__", *ROBOT, *BASICS,
    ),
    # Tasks know nothing of a simulator.
    **dict.fromkeys(TASKS, (*TASKS, "dexsim.env", "dexsim.scene", "dexsim.parameters", *ROBOT, *BASICS)),
    "dexsim.drawing": (
        "dexsim.drawing", "dexsim.cameras", "dexsim.backends", "dexsim.env", "dexsim.scene", "dexsim.robots", *BASICS,
    ),
    # Deployment may not know tasks or training.
    "deploy": ("deploy", "dexsim.runs", "dexsim.report", *ROBOT, *BASICS),
    "real2sim": ("real2sim", "dexsim"),
    "dexsim": ("dexsim",),
    "tasks": ("tasks", "dexsim"),
    "distill": ("distill", "tasks", "dexsim"),
}  # fmt: skip
# Real-to-sim moves robots without tasks or learners.
EXCEPT = {"real2sim": ("dexsim.env", "dexsim.rl", "dexsim.vector", "dexsim.drawing")}
# Where arrays become tensors and the other way round.
NUMPY_BORDER = (
    "dexsim/backends/mujoco", "dexsim/backends/physx", "dexsim/drawing", "dexsim/report", "tasks/recording",
    "dexsim/vector.py",  # gymnasium's arrays
    "dexsim/control/exported.py", "dexsim/rl/export.py",  # onnxruntime's
    "tasks/banks.py", "dexsim/rl/checkpoint.py", "tasks/objects",  # files
)  # fmt: skip


def files() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in files()}


def imports(path: Path, *packages: str) -> Iterator[str]:
    """Modules of this project, or of other packages, that a file imports when it runs, inside functions too."""
    packages = packages or PACKAGES
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in packages)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in packages:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES or alias.name == "__version__" else str(node.module)


def within(name: str, rooms: tuple[str, ...]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def rule_of(module: str) -> tuple[str, tuple[str, ...]]:
    room = max((room for room in RULES if within(module, (room,))), key=len)
    return room, RULES[room]


@pytest.mark.parametrize("module", MODULES)
def test_a_file_imports_what_its_room_may(module: str) -> None:
    room, allowed = rule_of(module)
    for imported in imports(MODULES[module]):
        assert within(imported, allowed), f"{module} is of the room {room}, which may not import {imported}"
        assert not within(imported, EXCEPT.get(room, ())), f"{module} may not import {imported}"


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_is_imported_in_its_rooms_only(engine: str) -> None:
    for module, path in MODULES.items():
        if not within(module, ENGINES[engine]):
            found = list(imports(path, engine))
            assert not found, f"{module} may not import {found[0]}"


def test_imports_have_no_circle() -> None:
    graph = {module: {name for name in imports(path) if name in MODULES} - {module} for module, path in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail[trail.index(module) :], module])
        if module not in done:
            for other in sorted(graph[module]):
                visit(other, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_folders_stay_small() -> None:
    folders = {path.parent for path in files()}
    sizes = {str(folder.relative_to(ROOT)): len(list(folder.glob("*.py"))) for folder in folders}
    assert not {folder: size for folder, size in sizes.items() if size > MOST_FILES}


def test_files_stay_short() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files()}
    assert not {path: length for path, length in lengths.items() if length > 500}


def test_arrays_become_tensors_at_the_border_only() -> None:
    crossing = ("numpy", "from_numpy", "as_tensor", "__array__")
    found = set()
    for path in files():
        name = str(path.relative_to(ROOT))
        if name.startswith(("real2sim", *NUMPY_BORDER)):  # real2sim is NumPy throughout
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in crossing:
                found.add(f"{name}:{node.lineno}")
    assert not found
