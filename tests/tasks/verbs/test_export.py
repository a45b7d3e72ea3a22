"""`dexsim export`: the files of a policy."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from dexsim import cli
from dexsim.rl import export as onnx_export
from dexsim.rl.checkpoint import load
from tasks.verbs.export import export


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    small = ["rl=cpu", "num_envs=8", "frames=128", "wandb=disabled", "backend.threads=1", f"runs_dir={folder}"]
    return cli.run("train", ["task=grasp_and_reach", *small])


def test_an_export_is_a_model_and_its_manifest(trained: Path, tmp_path: Path) -> None:
    folder = cli.run("export", [f"checkpoint={trained}", f"runs_dir={tmp_path}"])
    manifest = json.loads((folder / "policy.json").read_text())
    assert manifest["model_sha256"] == hashlib.sha256((folder / "policy.onnx").read_bytes()).hexdigest()
    assert manifest["task"]["name"] == "grasp_and_reach"
    assert manifest["frame"] == 128
    assert manifest["observation"] == {"object_position": [0, 3], "joint_position": [3, 29], "goal": [29, 32]}
    assert list(manifest["inputs"]) == [
        "joint_position", "joint_target", "object_position", "object_age", "object_valid", "goal", "time", "mirrored",
    ]  # fmt: skip
    assert manifest["max_error"] <= 1e-5
    assert json.loads((folder / "result.json").read_text())["max_error"]["value"] == manifest["max_error"]


def test_an_export_that_differs_is_refused(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "TOLERANCE", -1.0)
    with pytest.raises(RuntimeError, match="differs from torch"):
        export(load(trained), tmp_path / "policy.onnx")
    assert not list(tmp_path.iterdir())
