"""Files of logs that are empty, cut short or of another kind; `tests/test_mutated_files.py` damages them at random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from real2sim.logs.files import save_log
from tests.real2sim.logged import ROBOT, columns_of, make_log
from tests.real2sim.recorded import refusal, write_mcap

ARM = make_log(ROBOT.arm_joints("left"))


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
