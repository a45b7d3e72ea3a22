"""Strict settings: a config section becomes a dataclass, and nothing in it is ignored or guessed."""

from __future__ import annotations

import collections.abc
import dataclasses
import keyword
import math
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue, OmegaConfBaseException

from dexsim import paths
from dexsim.errors import UserError, one_line, parsing, unknown

T = TypeVar("T")

_UNIONS = (Union, getattr(types, "UnionType", Union))
_SEQUENCES = (tuple, list, collections.abc.Sequence)
_MAPPINGS = (dict, collections.abc.Mapping)


def build(cls: type[T], mapping: Any, path: str = "") -> T:
    """Builds a dataclass from a config section, recursively.

    Understands int (also 2e6), float (also 1 and "1e-4"), bool, str, Path, Any, Optional, Union, Literal, Tuple, List,
    Sequence, Dict, Mapping and other dataclasses. Keys left out take the default of the field.

    Args:
        cls: The dataclass. It checks its ranges in `__post_init__` with `errors.require`.
        mapping: A `DictConfig` or any other mapping.
        path: Where the section stands in the config ("task.goal"), for messages.

    Raises:
        UserError: For an unknown or a missing key, or a value of the wrong type or outside its range.
    """
    values = plain(mapping)
    fields = {key_of(field): field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    if not isinstance(values, collections.abc.Mapping):
        raise UserError(f"{path} = {values!r}: expected a section with the keys {', '.join(fields)}")
    for key, value in values.items():
        if key not in fields:
            raise unknown(f"unknown key {_join(path, key)!r} = {value!r}", key, fields)
    hints = {key: get_type_hints(cls)[field.name] for key, field in fields.items()}
    for key, field in fields.items():
        if key not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise UserError(f"{_join(path, key)} is missing: expected {_describe(hints[key])}")
    arguments = {fields[key].name: _convert(hints[key], value, _join(path, key)) for key, value in values.items()}
    try:
        return cls(**arguments)
    except UserError as error:
        raise UserError(_locate(path, str(error), fields)) from None


def key_of(field: dataclasses.Field[Any]) -> str:
    """Returns the key of a field in a config: its name, without the underscore after a word of Python (`from_`)."""
    name = field.name.removesuffix("_")
    return name if keyword.iskeyword(name) else field.name


def plain(config: Any) -> Any:
    """Returns a Hydra config as plain dicts and lists, with interpolations resolved; anything else as it is.

    Raises:
        UserError: For a value still to be given (`???`) or an interpolation that leads nowhere.
    """
    if not OmegaConf.is_config(config):
        return config
    try:
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key} is missing: add {error.full_key}=<value>") from None
    except InterpolationResolutionError as error:
        problem = str(error).splitlines()[0]
        raise UserError(f"{error.full_key}: {problem}; a ${{ that stands for itself is written \\${{") from None
    except OmegaConfBaseException as error:
        raise UserError(one_line(error)) from None


def read(path: Path) -> dict[str, Any]:
    """Returns what a config file holds, with the files of its folder that its `defaults` name below it.

    Left out is what it does not hold itself: options of groups, keys still to be given (`???`), and keys that follow
    others of the composed config (`${task.name}`).

    Raises:
        UserError: For a file that cannot be read.
    """
    with parsing(path, "a config"):
        config: Any = OmegaConf.load(path)
        open_keys = [k for k in config if OmegaConf.is_missing(config, k) or OmegaConf.is_interpolation(config, k)]
        own = plain(OmegaConf.masked_copy(config, [key for key in config if key not in open_keys]))
        values: dict[str, Any] = {}
        for name in own.pop("defaults", ["_self_"]):
            if isinstance(name, str):
                values = merge(values, own if name == "_self_" else read(path.with_name(f"{name}.yaml")))
        return values


def shipped(group: str, option: str) -> dict[str, Any]:
    """Returns an option of a config group as it ships, the only home of default values; a verb's own has group "".

    Raises:
        UserError: There is none of that name.
    """
    path = paths.cfg_dir() / group / f"{option}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.yaml"))
        raise unknown(f"{group} = {option!r}: no such config", option, known)
    return read(path)


def load(cls: type[T], option: str, section: Mapping[str, Any] | None = None) -> T:
    """Builds a dataclass from a config that ships ("control/relative") and what a section has in its place.

    Args:
        cls: The dataclass.
        option: Group and option.
        section: Keys that take the place of the shipped ones, each as a whole.
    """
    group, _, name = option.rpartition("/")
    return build(cls, {**shipped(group, name), **(section or {})}, group)


def merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Returns values above others, section by section."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def to_dict(settings: Any) -> Any:
    """Returns a settings dataclass as dicts, lists, numbers and strings: the inverse of `build`."""
    if dataclasses.is_dataclass(settings):
        return {key_of(field): to_dict(getattr(settings, field.name)) for field in dataclasses.fields(settings)}
    if isinstance(settings, collections.abc.Mapping):
        return {key: to_dict(value) for key, value in settings.items()}
    if isinstance(settings, (list, tuple)):
        return [to_dict(value) for value in settings]
    return str(settings) if isinstance(settings, Path) else settings


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin = get_origin(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else build(hint, value, path)  # type: ignore[arg-type]
    if origin in _UNIONS:
        return _convert_union(hint, value, path)
    if origin is Literal:
        return _convert_literal(hint, value, path)
    if origin in _SEQUENCES:
        return _convert_sequence(hint, value, path)
    if origin in _MAPPINGS:
        return _convert_mapping(hint, value, path)
    return _convert_scalar(hint, value, path)


def _convert_union(hint: Any, value: Any, path: str) -> Any:
    arms = [arm for arm in get_args(hint) if arm is not type(None)]
    if value is None and len(arms) < len(get_args(hint)):
        return None
    if len(arms) == 1:  # Optional: the error of its one arm says more
        return _convert(arms[0], value, path)
    for arm in arms:
        try:
            return _convert(arm, value, path)
        except UserError:
            continue
    raise _mismatch(hint, value, path)


def _convert_literal(hint: Any, value: Any, path: str) -> Any:
    for choice in get_args(hint):
        if choice == value and type(choice) is type(value):
            return choice
    raise unknown(f"{path} = {value!r}", value, [str(choice) for choice in get_args(hint)])


def _convert_sequence(hint: Any, value: Any, path: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise _mismatch(hint, value, path)
    kind, args = get_origin(hint), get_args(hint)
    if kind is tuple and args[-1] is not Ellipsis:
        if len(args) != len(value):
            raise _mismatch(hint, value, path)
    else:
        args = args[:1] * len(value)
    items = [_convert(arg, item, f"{path}[{i}]") for i, (arg, item) in enumerate(zip(args, value, strict=True))]
    return items if kind is list else tuple(items)


def _convert_mapping(hint: Any, value: Any, path: str) -> dict[Any, Any]:
    if not isinstance(value, collections.abc.Mapping):
        raise _mismatch(hint, value, path)
    key_hint, value_hint = get_args(hint)
    return {
        _convert(key_hint, key, f"{path} key"): _convert(value_hint, item, _join(path, key))
        for key, item in value.items()
    }


def _convert_scalar(hint: Any, value: Any, path: str) -> Any:
    if isinstance(value, bool) and hint is not bool:  # in Python a bool is an int
        raise _mismatch(hint, value, path)
    if isinstance(value, hint) and (hint is not float or math.isfinite(value)):
        return value
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, (int, str)):
        number = _parse_float(value)
        if math.isfinite(number):
            return number
    raise _mismatch(hint, value, path)


def _parse_float(text: int | str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _mismatch(hint: Any, value: Any, path: str) -> UserError:
    expected = f"{path} = {value!r}: expected {_describe(hint)}"
    if hint in (str, Path) and isinstance(value, (bool, int, float)):  # a name like 2026
        return UserError(f"{expected}, which quotes make of it: '{path}=\"...\"'")
    return UserError(expected)


def _describe(hint: Any) -> str:
    if get_origin(hint) is None and isinstance(hint, type):
        return hint.__name__
    return re.sub(r"\b(\w+\.)+", "", str(hint))


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _locate(path: str, message: str, fields: Mapping[str, Any]) -> str:
    """Puts the path of a section before a message of its `__post_init__`, which starts with a field's name."""
    if path and re.split(r"\W", message)[0] not in fields:
        return f"{path}: {message}"
    return _join(path, message)
