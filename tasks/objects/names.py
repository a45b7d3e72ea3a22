"""Objects as a config names them: by name, by group, by a mesh file, or as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dexsim import settings
from dexsim.errors import UserError, require, unknown
from dexsim.parameters import PARAMETERS
from dexsim.paths import assets_dir
from dexsim.scene import ObjectSpec
from tasks.objects.catalogue import GROUPS, MESHES, OBJECTS
from tasks.objects.files import check_size, from_file
from tasks.objects.reading import SUFFIXES, is_mesh_file

ALLOWED = (*GROUPS, *OBJECTS, *MESHES, f"a file ({', '.join(SUFFIXES)})")


def expand(names: Sequence[str | Mapping[str, Any]], key: str = "task.objects") -> list[ObjectSpec]:
    """The objects of some names, each once.

    Args:
        names: of which each may be an object's, a group's or a mesh file; or, in place of a name, the content of an
            object: a mapping with the fields of `ObjectSpec`.
        key: where they stand in the config, for messages.

    Raises:
        UserError: for a name that no object, group or file has, a file that is no mesh, content that is no object, or
            no name at all.
    """
    found: list[ObjectSpec] = []
    for name in names:
        if isinstance(name, str):
            found += [_named(member, key) for member in GROUPS.get(name, (name,))]
        else:
            found.append(_from_content(name, key))
    if not found:
        raise UserError(f"{key} = []: must name at least one of {', '.join(ALLOWED)}")
    return list(dict.fromkeys(found))


def with_content(names: Sequence[str | Mapping[str, Any]], key: str = "task.objects") -> list[str | dict[str, Any]]:
    """The same objects with the content of the files in place of their names: what a checkpoint keeps of them.

    Shipped objects and groups keep their names.
    """
    given = [name if isinstance(name, str) else dict(name) for name in names]
    return [settings.to_dict(_named(n, key)) if isinstance(n, str) and is_mesh_file(n) else n for n in given]


def _named(name: str, key: str) -> ObjectSpec:
    if name in OBJECTS:
        return OBJECTS[name]
    if name in MESHES:
        return from_file(assets_dir() / "objects" / f"{name}.stl")
    if not is_mesh_file(name):
        raise unknown(f"{key}: no object or group named {name!r}", name, ALLOWED)
    try:
        return from_file(Path(name).expanduser())
    except UserError as error:
        raise UserError(f"{key} = {name!r}: {error}") from None


def _from_content(content: Mapping[str, Any], key: str) -> ObjectSpec:
    """The object of a mapping as `settings.to_dict` makes it of one."""
    item = settings.build(ObjectSpec, content, key)
    if item.alternatives:
        raise UserError(f"{key}: {item.name!r} has alternatives; each object must stand for itself")
    for name, value in (("object_mass", item.mass), ("object_friction", item.friction)):
        low, high = PARAMETERS[name].bounds
        require(low <= value <= high, f"{key}: {name} of {item.name!r}", value, f"{low:g} to {high:g}")
    try:
        check_size(item.size)
    except UserError as error:
        raise UserError(f"{key}: {item.name!r} {error}") from None
    return item
