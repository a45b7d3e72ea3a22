"""Files of logs that are empty, cut short, of another kind or mutated: one line each, whatever their bytes are."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import numpy as np
import pytest

from dexsim.errors import UserError
from real2sim.logs.files import load_log, save_log
from tests.real2sim.logged import ROBOT, columns_of, make_log
from tests.real2sim.recorded import refusal, to_v3, write_csv, write_lerobot, write_mcap

ARM = make_log(ROBOT.arm_joints("left"))
SMALL = make_log(ROBOT.arm_joints("left")[:2], duration=6)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".mcap"])
def test_an_empty_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"empty{suffix}"
    path.touch()
    assert refusal(path).startswith(f"{path.name}: not a")


@pytest.mark.parametrize("suffix", [".parquet", ".mcap"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98, 0.9999])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"log{suffix}"
    save_log(path, ARM) if suffix == ".parquet" else write_mcap(path, ARM)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    kind = "Parquet" if suffix == ".parquet" else "MCAP"
    assert refusal(path).startswith(f"{path.name}: not a whole {kind} file")


def test_a_truncated_csv_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    columns = columns_of(ARM)
    np.savetxt(path, np.stack(list(columns.values()), axis=1), delimiter=",", header=",".join(columns), comments="")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    assert refusal(path).startswith("log.csv: not a CSV file")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    for suffix in (".parquet", ".mcap"):
        (tmp_path / f"log{suffix}").write_bytes(b"time_s,command.a\n0,1\n" * 100)
        assert f"log{suffix}: not a whole" in refusal(tmp_path / f"log{suffix}")
    (tmp_path / "log.hdf5").touch()
    assert "unknown suffix '.hdf5'; allowed: .parquet, .csv, .mcap" in refusal(tmp_path / "log.hdf5")


def test_a_path_to_nothing_is_refused(tmp_path: Path) -> None:
    assert "no such file; allowed: .parquet, .csv, .mcap, the folder of" in refusal(tmp_path / "none.parquet")
    assert "a folder without meta/info.json" in refusal(tmp_path)


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Bytes of which some are changed, left out, added or cut off, often near the end, where formats index them."""
    data = bytearray(content)
    at = rng.randrange(len(data)) if rng.random() < 0.5 else max(0, len(data) - 1 - rng.randrange(400))
    how = rng.randrange(4)
    if how == 0:
        del data[at:]
    elif how == 1:
        del data[at : at + rng.randrange(1, 100)]
    elif how == 2:
        data[at:at] = rng.randbytes(rng.randrange(1, 20))
    else:
        data[at : at + 3] = rng.randbytes(3)
    return bytes(data)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".csv.gz", ".mcap"])
def test_mutated_files_are_read_or_refused_in_a_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"log{suffix}"
    write = {".parquet": save_log, ".mcap": write_mcap}.get(suffix, write_csv)
    write(path, SMALL)
    content, rng = path.read_bytes(), random.Random(0)
    content = gzip.compress(content) if suffix.endswith(".gz") else content
    for _ in range(60):
        path.write_bytes(mutated(content, rng))
        try_to_read(path)


@pytest.mark.parametrize("v3", [False, True])
def test_mutated_datasets_are_read_or_refused_in_a_line(tmp_path: Path, v3: bool) -> None:
    folder, rng = write_lerobot(tmp_path / "set", make_log(hz=20, noise=0), fps=20), random.Random(0)
    for path in sorted((to_v3(folder) if v3 else folder).rglob("*.*")):
        content = path.read_bytes()
        for _ in range(10):
            path.write_bytes(mutated(content, rng))
            try_to_read(folder)
        path.write_bytes(content)


def try_to_read(path: Path) -> None:
    try:
        load_log(path, ROBOT, episode=1)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 1500
