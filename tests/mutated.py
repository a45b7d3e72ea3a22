"""Damages files as the world does: cut short, overwritten, with keys renamed, values of another type, or none."""

from __future__ import annotations

import copy
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

ODD: tuple[Any, ...] = (
    None, True, "", "x", "ä\n\u2028", "1e-3", 0, -1, 7, 10**30, 1e308, -0.5, float("nan"), float("inf"), [], {}, [[]],
    [None], {"a": 1}, [1, "2"], "/", "..", "\0",
)  # fmt: skip


@dataclass(frozen=True)
class Format:
    """How the content of a file is taken apart into dicts, lists and values, and put together again."""

    take_apart: Callable[[bytes], Any]
    put_together: Callable[[Any], bytes]


def _numpy_file(tree: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    arrays: dict[str, Any] = {str(key): np.asarray(value) for key, value in tree.items()}
    np.savez(file, **arrays)
    return file.getvalue()


def _read_numpy(data: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(data)) as file:
        return dict(file)


def _torch_file(tree: Any) -> bytes:
    file = io.BytesIO()
    torch.save(tree, file)
    return file.getvalue()


def _parquet_file(tree: dict[str, Any]) -> bytes:
    metadata = {str(key): str(value) for key, value in (tree.get("metadata") or {}).items()}
    columns = {str(name): pa.array(values) for name, values in (tree.get("columns") or {}).items()}
    file = io.BytesIO()
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), file)
    return file.getvalue()


def _read_parquet(data: bytes) -> dict[str, Any]:
    table = pq.read_table(io.BytesIO(data))
    metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    return {"columns": {name: table[name].to_pylist() for name in table.column_names}, "metadata": metadata}


JSON = Format(json.loads, lambda tree: json.dumps(tree).encode())
YAML = Format(yaml.safe_load, lambda tree: yaml.safe_dump(tree, allow_unicode=True).encode())
NUMPY = Format(_read_numpy, _numpy_file)
TORCH = Format(lambda data: torch.load(io.BytesIO(data), weights_only=False), _torch_file)
PARQUET = Format(_read_parquet, _parquet_file)


def damage(data: bytes, form: Format | None, chance: random.Random) -> bytes:
    """Returns a file's content with one to three damages; of a format that is known, half of them are in its values."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if form is not None and chance.random() < 0.6:
            try:
                data = form.put_together(_other_values(form.take_apart(data), chance))
                continue
            except Exception:
                pass
        data = _other_bytes(data, chance)
    return data


def _other_bytes(data: bytes, chance: random.Random) -> bytes:
    at, length = chance.randrange(len(data) + 1), chance.choice((1, 2, 8, 100, len(data)))
    kind = chance.choice(("cut", "empty", "overwrite", "drop", "repeat", "insert", "replace", "zero"))
    if kind == "cut":
        return data[:at]
    if kind == "empty":
        return b""
    if kind == "overwrite":
        return data[:at] + chance.randbytes(min(length, 64)) + data[at + length :]
    if kind == "drop":
        return data[:at] + data[at + length :]
    if kind == "repeat":
        return data[: at + length] + data[at:]
    if kind == "insert":
        return data[:at] + chance.choice((b"\n", b"\xff\xfe", b"nan", b"{", b'"', b",", b"\0", b"-")) + data[at:]
    if kind == "zero":
        return data[:at] + bytes(min(length, len(data) - at)) + data[at + length :]
    return chance.choice((b"null", b"[]", b"{}", b"1", b"PK\x03\x04", b"\x80\x02N.", b"<html>", "ä".encode("latin-1")))


def _other_values(tree: Any, chance: random.Random) -> Any:
    """A tree with a key renamed, dropped or doubled, or a value replaced."""
    places = list(_places(tree))
    if not places:
        return chance.choice(ODD)
    tree = copy.deepcopy(tree)
    path = chance.choice(places)
    owner = tree
    for key in path[:-1]:
        owner = owner[key]
    key, value = path[-1], owner[path[-1]]
    kind = chance.choice(("replace", "replace", "odd inside", "drop", "rename", "number", "swap"))
    if kind == "drop":
        del owner[key]
    elif kind == "rename" and isinstance(owner, dict):
        owner[chance.choice((f"{key}_", str(key).upper(), "x", 3))] = owner.pop(key)
    elif kind == "number" and isinstance(value, (int, float)) and not isinstance(value, bool):
        owner[key] = chance.choice((0, -value, value * 1e9, value + 1, str(value), [value]))
    elif kind == "swap":
        other = chance.choice([p for p in places if len(p) == len(path)])
        there = tree
        for step in other[:-1]:
            there = there[step]
        owner[key], there[other[-1]] = there[other[-1]], value
    elif kind == "odd inside" and isinstance(value, (np.ndarray, torch.Tensor)):
        owner[key] = _other_array(value, chance)
    else:
        owner[key] = chance.choice(ODD)
    return tree


def _other_array(array: Any, chance: random.Random) -> Any:
    """An array or tensor of another shape or type, or with a value that is none."""
    is_torch = isinstance(array, torch.Tensor)
    values = array.numpy() if is_torch else array
    other = chance.choice((
        lambda: values[:0], lambda: values[:-1] if values.ndim else values, lambda: values[None], lambda: values.T,
        lambda: values.astype(np.float64) * np.nan, lambda: values.astype(np.int64), lambda: values.astype(np.float16),
        lambda: values.astype(complex), lambda: values.astype(np.float64) * 1e30, lambda: values.ravel(),
    ))()  # fmt: skip
    return torch.from_numpy(np.ascontiguousarray(other)) if is_torch else other


def _places(tree: Any, path: tuple[Any, ...] = (), most: int = 12) -> Any:
    """Paths to the values of a tree; of long lists, such as columns of numbers, only the first few."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree[:most]) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _places(value, (*path, key), most)
