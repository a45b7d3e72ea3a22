"""Episodes of LeRobot datasets, v2 and v3, of NVIDIA's GR1 with Fourier hands.

v2 keeps one file for each episode, v3 several episodes in a file and a table that says where each one is. What the
metadata say about the values is read by `real2sim.logs.readers.meanings`.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dexsim.errors import UserError, one_line
from dexsim.robots import RobotSpec
from dexsim.robots.spec import SIDES
from real2sim.logs.readers.arrow import named, numbers, parquet_table, reading
from real2sim.logs.readers.meanings import Slice, find_unit, order_of, slice_of
from real2sim.logs.readers.recording import TIME, Recording, is_file, parse_json, shown
from real2sim.logs.readers.times import seconds

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)

# Where the 26 joints are in the 44 values of NVIDIA's GR1 data, for folders without meta/modality.json.
GR1_SLICES = {
    part: {"start": start, "end": end}
    for part, start, end in (("left_arm", 0, 7), ("left_hand", 7, 13), ("right_arm", 22, 29), ("right_hand", 29, 35))
}
# The hand's values there, in the order of robosuite's `FourierRightHand.format_action` and its actuators. Each counts
# from 0 when open to positive when closed, whatever its sign is here. That the last is the thumb's yaw shows in the
# data: it rests at 1.74 rad, which the pitch (up to 1.22) cannot reach.
GR1_HAND = (
    ("pinky", "proximal"), ("ring", "proximal"), ("middle", "proximal"), ("index", "proximal"),
    ("thumb", "proximal_pitch"), ("thumb", "proximal_yaw"),
)  # fmt: skip
# Where a dataset keeps a kind of values: key of modality.json, and the column that it means if it names none.
KINDS = {"command": ("action", "action"), "position": ("state", "observation.state")}
V2_PATH = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
V3_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
CHUNK = 1000  # episodes, where info.json does not say it
_FIELD = re.compile(r"\{(\w+)(?::0?(\d{1,2})d)?\}")
FASTEST = 10_000  # rows a second
RATE_ERROR = 0.1  # by which the steps of the timestamps may differ from the rate that is stated


def is_dataset(path: Path) -> bool:
    """Whether a path leads to a LeRobot dataset."""
    return is_file(path / "meta" / "info.json")


def read_lerobot(folder: Path, robot: RobotSpec, episode: int = 0) -> Recording:
    """Reads an episode.

    The arms' joints are taken to be in our order, the hands' in that of `GR1_HAND`, where the dataset does not name
    them. The hands' actions are saturated there, far beyond what the joints reach; they are clipped to the limits, as
    the drive does.

    Args:
        folder: With `meta/info.json` and, if it is there, `meta/modality.json`, which tells where the joints are.
        robot: Whose names and limits the columns get.
        episode: Which one, from 0.

    Raises:
        UserError: If it is another dataset, its values mean something else, or it has no such episode.
    """
    if robot.hand != "fourier":
        raise UserError(f"{folder.name}: is of Fourier hands, but robot {robot.name!r} has the {robot.hand} hand")
    info = _json(folder / "meta" / "info.json")
    _check_kind(folder, info, episode)
    path, table = _episode(folder, info, episode)
    with reading(path, "cannot be read"):
        time = seconds(named(table, "timestamp", path), "timestamp", path)
    _check_rate(folder, info, time)
    columns = {TIME: time}
    parts, modality = _gr1_parts(robot), _modality(folder)
    slices = {
        kind: {part: slice_of(folder, modality, key, part, column, len(parts[part])) for part in parts}
        for kind, (key, column) in KINDS.items()
    }
    for part, joints in parts.items():
        for kind, order in order_of(folder, info, {k: s[part] for k, s in slices.items()}, list(joints), robot).items():
            values = _values(table, slices[kind][part], path)
            columns.update({f"{kind}.{name}": joints[name] * values[:, i] for i, name in enumerate(order)})
    units = {kind: find_unit(folder, info, list(own.values())) for kind, own in slices.items()}
    _clip_hands(columns, robot, path, units["command"])
    about = {"hand": "fourier", "units": json.dumps(units)}
    return Recording(path, columns, about, f"{folder.resolve().name}_episode_{episode:06d}")


# --- metadata


def _json(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({one_line(error)})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: is of type {type(content).__name__}: must be a JSON object")
    return content


def _modality(folder: Path) -> dict[str, Any]:
    path = folder / "meta" / "modality.json"
    return _json(path) if path.exists() else {"state": GR1_SLICES, "action": GR1_SLICES}


def _check_kind(folder: Path, info: Mapping[str, Any], episode: int) -> None:
    """Refuses datasets of another kind, and numbers that are none."""
    version, kind = str(info.get("codebase_version")), str(info.get("robot_type"))
    if not re.fullmatch(r"v[23](\.\d+)*", version):
        raise UserError(f"{folder.name}: codebase_version = {shown(version)}: must be v2.x or v3.x")
    if not kind.startswith("GR1") or "inspire" in kind.lower():
        raise UserError(f"{folder.name}: robot_type = {shown(kind)}: must be a GR1 with Fourier hands")
    total = _whole(folder, info, "total_episodes", None)
    if not 0 <= episode < total:
        raise UserError(f"{folder.name}: episode = {episode}: must be between 0 and {total - 1}")


def _whole(folder: Path, info: Mapping[str, Any], key: str, default: int | None) -> int:
    """A number of info.json that counts something: whole, and at least 1."""
    value = info.get(key, default)
    if key not in info and default is None:
        raise UserError(f"{folder.name}: meta/info.json has no {key}")
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{folder.name}: {key} = {shown(value)}: must be a whole number of at least 1")
    return value


def _check_rate(folder: Path, info: Mapping[str, Any], time: np.ndarray) -> None:
    """Refuses a rate that is none, or not the one of the timestamps (T,)."""
    if "fps" not in info:
        return
    fps = info["fps"]
    if isinstance(fps, bool) or not isinstance(fps, (int, float)) or not 0 < fps <= FASTEST:
        raise UserError(f"{folder.name}: fps = {shown(fps)}: must be a number above 0, up to {FASTEST}")
    step = float(np.median(np.diff(time))) if len(time) > 1 else 1 / fps
    if 0 < step < np.inf and abs(step * fps - 1) > RATE_ERROR:
        raise UserError(
            f"{folder.name}: fps = {fps:g}, but its timestamps are {step:.4g} s apart ({1 / step:.4g} rows/s): one of "
            "them is wrong"
        )


# --- files


def _episode(folder: Path, info: Mapping[str, Any], episode: int) -> tuple[Path, pa.Table]:
    """The file that an episode is in, and its rows."""
    chunks_size = _whole(folder, info, "chunks_size", CHUNK)
    if str(info["codebase_version"]).startswith("v2"):
        places = {"episode_chunk": episode // chunks_size, "episode_index": episode}
        # NVIDIA's template names the episode as its chunk, and the files are not there.
        templates = [info.get("data_path", V2_PATH), V2_PATH]
        path = _existing(folder, templates, places, episode)
        return path, parquet_table(path)
    places, length = _v3_place(folder, episode)
    path = _existing(folder, [info.get("data_path", V3_PATH)], places, episode)
    return path, _v3_rows(path, parquet_table(path), episode, length)


def _existing(folder: Path, templates: list[Any], places: Mapping[str, int], episode: int) -> Path:
    """The first file that there is of those that templates name."""
    paths = [folder / _fill(folder, template, places) for template in templates]
    path = next((path for path in paths if is_file(path)), None)
    if path is None:
        raise UserError(f"{folder.name}: episode = {episode}: no file {paths[-1].relative_to(folder)}")
    return path


def _fill(folder: Path, template: object, places: Mapping[str, int]) -> str:
    """A template's path; only whole numbers are put in, whatever else Python's own formatting could reach."""
    if not isinstance(template, str):
        raise UserError(f"{folder.name}: data_path = {shown(template)}: must be a file's name with fields in braces")
    unknown = [name for name, _ in _FIELD.findall(template) if name not in places]
    filled = _FIELD.sub(lambda match: f"{places.get(match[1], 0):0{int(match[2] or 1)}d}", template)
    if unknown or set("{}\0") & set(filled) or ".." in Path(filled).parts or Path(filled).is_absolute():
        allowed = " and ".join(f"{{{name}}}" for name in places)
        raise UserError(f"{folder.name}: data_path = {shown(template)}: must be in the dataset, with {allowed}")
    return filled


def _v3_place(folder: Path, episode: int) -> tuple[dict[str, int], int]:
    """In which file an episode is, and how many rows it has there, -1 where that is not said."""
    files = sorted((folder / "meta" / "episodes").glob("*/*.parquet"))
    if not files:
        raise UserError(f"{folder.name}: has no meta/episodes/chunk-000/file-000.parquet, as v3.0 has it")
    for path in files:
        table = parquet_table(path)
        found = np.flatnonzero(numbers(named(table, "episode_index", path), "episode_index", path) == episode)
        if len(found):
            row, keys = int(found[0]), ("chunk_index", "file_index")
            places = {key: _at(table, f"data/{key}", row, path) for key in keys}
            length = _at(table, "length", row, path) if "length" in table.column_names else -1
            return {**places, "episode_index": episode}, length
    raise UserError(f"{folder.name}: episode = {episode}: meta/episodes has no such episode")


def _at(table: pa.Table, column: str, row: int, path: Path) -> int:
    value = numbers(named(table, column, path), column, path)[row]
    if not (0 <= value < 2**53 and value == round(value)):
        raise UserError(f"{path.name}: row {row}: {column} = {value}: must be a whole number of at least 0")
    return int(value)


def _v3_rows(path: Path, table: pa.Table, episode: int, length: int) -> pa.Table:
    """The rows of a file that are of one episode."""
    rows = np.flatnonzero(numbers(named(table, "episode_index", path), "episode_index", path) == episode)
    if len(rows) == 0 or length not in (-1, len(rows)):
        raise UserError(f"{path.name}: episode = {episode}: has {len(rows)} rows there, meta/episodes says {length}")
    if rows[-1] - rows[0] != len(rows) - 1:
        raise UserError(f"{path.name}: episode = {episode}: rows of other episodes stand between its own")
    return table.slice(int(rows[0]), len(rows))


# --- values


def _gr1_parts(robot: RobotSpec) -> dict[str, dict[str, float]]:
    """Our joints and their signs there, by the dataset's name for a part and in its order."""
    closing = dict(zip(robot.commands, np.sign(np.subtract(robot.closed_position, robot.open_position)), strict=True))
    parts: dict[str, dict[str, float]] = {}
    for side in SIDES:
        hand = robot.parts.get(f"{side}_hand", ())
        own = {(joint.finger, joint.role): joint.name for joint in map(robot.joint, hand)}
        missing = [" ".join(each) for each in GR1_HAND if each not in own]
        if missing:
            raise UserError(f"a GR1's {side} hand has a joint {missing[0]!r}, which robot {robot.name!r} has not")
        parts[f"{side}_arm"] = dict.fromkeys(robot.arm_joints(side), 1.0)
        parts[f"{side}_hand"] = {own[each]: float(closing[own[each]]) for each in GR1_HAND}
    return parts


def _values(table: pa.Table, where: Slice, path: Path) -> np.ndarray:
    """Values (T, width) from a column of lists."""
    import pyarrow as pa
    from pyarrow import compute

    rows = named(table, where.column, path)
    with reading(path, f"column {where.column!r} cannot be read"):
        kind = rows.type
        is_list = any(t(kind) for t in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))
        lengths = set(compute.fill_null(compute.list_value_length(rows), 0).to_pylist()) if is_list else {0}  # type: ignore[attr-defined]
        if len(lengths) > 1 or where.end > max(lengths, default=where.end):
            has = ", ".join(map(str, sorted(lengths)))
            raise UserError(
                f"{path.name}: {where} of {has} values: must be {where.end - where.start} joints in each row"
            )
        flat = pa.chunked_array([chunk.flatten() for chunk in rows.chunks], kind.value_type)
        values = numbers(flat, where.column, path).reshape(len(rows), max(lengths, default=where.end))
        where.check_range(values, path)
        return values[:, where.start : where.end]


def _clip_hands(columns: dict[str, np.ndarray], robot: RobotSpec, path: Path, unit: str) -> None:
    clipped = 0
    for name, is_hand in zip(robot.commands, robot.is_hand, strict=True):
        column = f"command.{name}"
        if is_hand:
            limits = np.array(robot.joint(name).limits)
            limited = np.clip(columns[column], *(np.rad2deg(limits) if unit == "deg" else limits))
            clipped += bool(np.any(limited != columns[column]))
            columns[column] = limited
    if clipped:
        _log.info("%s: commands of %d hand joints are clipped to the joints' limits", path.name, clipped)
