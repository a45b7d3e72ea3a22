"""Synthetic logs for tests: joints that follow their commands with a first-order lag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dexsim import robots, settings
from real2sim.logs.joint_log import JointLog, find_valid

ROBOT = robots.load("gr1t2")
LAG_S = 0.08
T = TypeVar("T")


def make_log(
    joints: Sequence[str] = ROBOT.commands,
    duration: float = 8.0,
    hz: float = 50.0,
    seed: int = 0,
    clock_lead: float = 0.0,
    noise: float = 1e-3,
) -> JointLog:
    """A log of joints whose 10 Hz commands are sums of sines within the joints' limits.

    Positions are what a first-order lag makes of commands that were really sent `clock_lead` s before their time.
    """
    rng = np.random.default_rng(seed)
    fine = np.arange(round((duration + 4) * 1000)) / 1000
    limits = np.array([ROBOT.joint(name).limits for name in joints])
    tones = np.floor(fine * 10 + 1e-9)[:, None, None] / 10 * rng.uniform(0.2, 1.2, (len(joints), 3)) * 2 * np.pi
    waves = np.sin(tones + rng.uniform(0, 2 * np.pi, (len(joints), 3))).mean(axis=2)
    sent = limits.mean(axis=1) + 0.4 * np.ptp(limits, axis=1) * waves
    did = sent.copy()
    for i in range(1, len(fine)):
        did[i] = did[i - 1] + (sent[i - 1] - did[i - 1]) * 0.001 / LAG_S
    time = np.arange(round(duration * hz) + 1) / hz
    rows = np.round((time + 2) * 1000).astype(int)
    position = did[rows + round(clock_lead * 1000)] + noise * rng.standard_normal((len(rows), len(joints)))
    velocity = np.gradient(position, time, axis=0)
    effort = 20 * (sent[rows] - position)
    command, position, velocity, effort = (
        values.astype(np.float32).astype(float) for values in (sent[rows], position, velocity, effort)
    )
    return JointLog(
        time, command, position, velocity, effort, tuple(joints), "gr1t2", "fourier", find_valid(time), "synthetic"
    )


def keep(log: JointLog, rows: Any) -> JointLog:
    """Some rows of a log, at the times they have."""
    kept = log.rows(rows)
    return replace(kept, valid=find_valid(kept.time))


def of_excite(cls: type[T], section: str, **changes: Any) -> T:
    """Settings of a section of `dexsim excite` as they ship, with values of their own."""
    return settings.build(cls, {**settings.shipped("", "excite")[section], **changes}, section)


def columns_of(log: JointLog) -> dict[str, np.ndarray]:
    """The columns of the Parquet format."""
    columns = {"time_s": log.time}
    for kind in ("command", "position", "velocity", "effort"):
        values: np.ndarray | None = getattr(log, kind)
        if values is not None:
            columns.update({f"{kind}.{name}": values[:, i] for i, name in enumerate(log.joints)})
    return columns


def write_columns(path: Path, columns: dict[str, Any], **metadata: str) -> Path:
    """A Parquet file with columns as given, right or wrong."""
    keys: list[str] = list(columns)
    pq.write_table(
        pa.table([pa.array(columns[key]) for key in keys], names=keys).replace_schema_metadata(metadata), path
    )
    return path
