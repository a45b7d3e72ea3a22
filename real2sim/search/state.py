"""The file that a fit is kept in: one `.npz`, with its arrays beside a JSON header that holds everything else.

Reading it runs nothing that stands in it: a run folder to go on with may be a stranger's.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dexsim.errors import UserError

FORMAT = "dexsim fit 1"
# Nothing that a search counts comes near; beyond, arithmetic fails that a search does not expect to.
LARGEST = 1e15
# A key of the header that stands for the array of that number.
_ARRAY = "__array__"


def encode(state: Mapping[str, Any]) -> bytes:
    """What a file holds.

    Args:
        state: dicts with texts as keys, lists, numbers, texts, True, False, None and arrays, one within the other.
    """
    arrays: list[np.ndarray] = []
    header = json.dumps({"format": FORMAT, "state": _detach(state, arrays)})
    file = io.BytesIO()
    named: dict[str, Any] = {str(i): array for i, array in enumerate(arrays)}
    np.savez(file, header=np.array(header), **named)
    return file.getvalue()


def decode(data: bytes, path: Path) -> dict[str, Any]:
    """The state that a file holds, equal to the last bit to the one that was written.

    Args:
        data: its content.
        path: where it is from, for the message.

    Raises:
        UserError: for what is no such file.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            if header["format"] == FORMAT:
                return dict(_attach(header["state"], file))
    except Exception:  # whatever reading what is not such a file comes to
        raise no_state(path) from None
    raise no_state(path)


def read(path: Path) -> dict[str, Any]:
    """The state in a file; raises UserError where there is none."""
    try:
        data = path.read_bytes()
    except OSError:
        raise no_state(path) from None
    return decode(data, path)


def no_state(path: Path) -> UserError:
    """The error for a file that a fit cannot go on from."""
    return UserError(f"{path}: is no state of a fit, or is cut short")


def same_kind(value: Any, like: Any) -> Any:
    """A stored value; raises ValueError unless it is an array of the shape and type of another, or such a number."""
    if isinstance(like, np.ndarray):
        if isinstance(value, np.ndarray) and (value.shape, value.dtype) == (like.shape, like.dtype):
            return value
    elif isinstance(value, (int, float)) and not abs(value) > LARGEST:
        return type(like)(value)
    raise ValueError("not what a search stores")


def _detach(value: Any, arrays: list[np.ndarray]) -> Any:
    """The value for the header; its arrays are added to the list."""
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {_ARRAY: len(arrays) - 1}
    if isinstance(value, Mapping):
        return {key: _detach(item, arrays) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_detach(item, arrays) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _attach(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The inverse of `_detach`."""
    if isinstance(value, dict):
        if _ARRAY in value:
            return arrays[str(value[_ARRAY])]
        return {key: _attach(item, arrays) for key, item in value.items()}
    return [_attach(item, arrays) for item in value] if isinstance(value, list) else value
