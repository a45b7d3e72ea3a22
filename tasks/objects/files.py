"""The object of a mesh file: understood once a process, for as long as the file stays what it is."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dexsim.errors import UserError
from dexsim.paths import assets_dir
from dexsim.scene import ObjectSpec
from tasks.objects.catalogue import MASS, ORANGE
from tasks.objects.convex import Parts, convex_parts
from tasks.objects.gltf import other_files
from tasks.objects.reading import read_mesh
from tasks.objects.solids import Solids, find_solids

logger = logging.getLogger(__name__)

LIMITS, ABSURD = (0.005, 0.5), 1e5  # what an object may measure, and no file is expected to; m
UNITS = {"mm": 0.001, "cm": 0.01, "inches": 0.0254}
TYPICAL = 0.08  # m, of what hands lift
DISAGREE = 1.25  # a ratio of volumes that is worth a word

_understood: dict[tuple[Path, str], ObjectSpec] = {}


def from_file(path: Path) -> ObjectSpec:
    """The object of a mesh file.

    Raises:
        UserError: there is none, or nothing in it that can be simulated.
    """
    try:
        data = path.read_bytes()
        digest = hashlib.sha256(data)
        for other in other_files(path, data):
            digest.update(other.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"no file {error.filename}") from None
    except (OSError, ValueError) as error:  # NUL in a name
        raise UserError(f"cannot be read ({error})") from None
    key = path.resolve(), digest.hexdigest()
    if key not in _understood:
        _understood[key] = _understand(path, data)
    return _understood[key]


def _understand(path: Path, data: bytes) -> ObjectSpec:
    mesh = read_mesh(path, data)
    if not LIMITS[0] < mesh.extents.max() < ABSURD:  # what is thick, and what is a hollow, cannot be said of it
        check_size(mesh.extents.tolist())
    solids = find_solids(mesh)
    check_size(np.ptp(np.concatenate([solid.bounds for solid in solids.meshes]), axis=0).tolist())
    parts = convex_parts(solids)
    corners = np.concatenate([hull.vertices for hull in parts.hulls])
    middle, size = (corners.min(axis=0) + corners.max(axis=0)) / 2, np.ptp(corners, axis=0)
    if assets_dir() not in path.parents:
        _report(path, size, parts, solids)
    vertices = tuple(tuple(map(tuple, (hull.vertices - middle).tolist())) for hull in parts.hulls)
    return ObjectSpec(path.stem, "mesh", tuple(size.tolist()), MASS, rgba=ORANGE, parts=vertices)


def check_size(size: Sequence[float]) -> None:
    """Refuse extents in m that no object for hands has, and guess the unit that they are in."""
    if LIMITS[0] <= min(size) <= max(size) <= LIMITS[1]:
        return
    likely = [unit for unit, scale in UNITS.items() if LIMITS[0] <= scale * min(size) <= scale * max(size) <= LIMITS[1]]
    middle = np.exp(np.mean(np.log(np.maximum(size, 1e-12))))
    unit = min(likely, key=lambda unit: abs(np.log(UNITS[unit] * middle / TYPICAL)), default=None)
    guess = f"; is it in {unit}? That would be {_product([UNITS[unit] * extent for extent in size])} m" if unit else ""
    raise UserError(f"has extents of {_product(size)} m; must be {LIMITS[0]:g} to {LIMITS[1]:g} m{guess}")


def _product(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


def _report(path: Path, size: np.ndarray, parts: Parts, solids: Solids) -> None:
    """Say what was understood of a file."""
    count = "1 convex part" if len(parts.hulls) == 1 else f"{len(parts.hulls)} convex parts"
    volumes = f"{1e6 * parts.volume:.0f} cm3 (in the file {1e6 * parts.solid:.0f} cm3"
    holes = "" if solids.closed else ", not watertight"
    without = f"; left out: {solids.left_out} pieces without volume" if solids.left_out else ""
    extents = _product((1000 * size).tolist())
    logger.info("%s: %s mm, %s of %s%s)%s", path, extents, count, volumes, holes, without)
    ratio = parts.volume / parts.solid
    if not 1 / DISAGREE < ratio < DISAGREE:
        logger.warning("%s: its convex parts take up %.2g times its volume", path, ratio)
