"""Plays an exported policy: an ONNX file and the manifest beside it, with nothing of tasks or a simulator.

An episode, where `measure` gives a `Measured` whose joint_target is what was sent last:

    policy = ExportedPolicy(Path("policy.onnx"), robot)
    policy.begin(measure(), goals)                           # which hand acts, and the goals of this episode
    for _ in range(round(policy.episode_s * policy.hz)):     # every 1 / policy.hz seconds
        measured = measure()
        measured.goal = policy.goal(measured)
        send(policy.act(measured))
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dexsim.control.controller import INPUTS, OUTPUTS
from dexsim.control.measured import Measured
from dexsim.control.symmetry import left_hand_acts
from dexsim.errors import UserError, parsing, require
from dexsim.robots import RobotSpec

FORMAT = 1


def read_manifest(path: Path) -> dict[str, Any]:
    """What the manifest beside an exported policy says.

    Args:
        path: the policy, `policy.onnx`, or its manifest, `policy.json`.

    Raises:
        UserError: there is none, or it is none.
    """
    file = path.with_suffix(".json")
    with parsing(file, "the manifest of an exported policy"):
        content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{file}: not the manifest of an exported policy of format {FORMAT}")
    with parsing(file, "a whole manifest"):
        _check(content)
    return content


def _check(manifest: dict[str, Any]) -> None:
    """Refuse a manifest without what a runner reads of it."""
    task, numbers = manifest["task"], {"policy_hz": manifest["policy_hz"], "episode_s": manifest["task"]["episode_s"]}
    for goal in task.get("goals", ()):
        if goal.get("until"):
            numbers |= {f"until.{key}": goal["until"][key] for key in ("distance_m", "lifted_m")}
    for name, value in numbers.items():
        require(isinstance(value, (int, float)) and 0 < value < math.inf, name, value, "a positive number")
    require(isinstance(manifest["two_sided"], bool), "two_sided", manifest["two_sided"], "true or false")


class ExportedPolicy:
    """A policy of `dexsim export` at work on N robots.

    Args:
        path: the ONNX file; its manifest lies beside it.
        robot: the robot that it is to move.

    Attributes:
        manifest: all that is known of the policy.
        hz: how often it acts.
        episode_s: how long an episode lasts, s.
        mirrored: (N,) bool, for which robots the left hand acts or begins.
        phase: (N,) int64, which of the goals counts.
        action: (N, num_actions) what the network has put out last.

    Raises:
        UserError: the files cannot be read, or the policy is another robot's.
    """

    def __init__(self, path: Path, robot: RobotSpec) -> None:
        self.manifest = read_manifest(path)
        robot.check_table(self.manifest.get("robot"), f"policy {path}")
        self._session = _open(path)
        self.hz, self.episode_s = self.manifest["policy_hz"], self.manifest["task"]["episode_s"]
        self.action = self.mirrored = self.phase = torch.zeros(0)
        self._goals: Tensor | None = None
        self._start = torch.zeros(0, 3)

    def begin(self, measured: Measured, goals: Tensor | None = None) -> None:
        """Start an episode.

        Args:
            measured: what is seen now; it decides which hand acts.
            goals: (N, P, 3) where the object should go in each phase, in the robot's frame, m; None where the policy
                needs none.
        """
        count = len(measured.object_position)
        left = left_hand_acts(measured.object_position)
        self.mirrored = left if self.manifest["two_sided"] else torch.zeros_like(left)
        self.phase = torch.zeros(count, dtype=torch.long, device=left.device)
        self._goals, self._start = goals, measured.object_position.clone()

    def goal(self, measured: Measured) -> Tensor:
        """Where the object should go now, (N, 3) m; moves on to the next goal where the object has come to this one."""
        if self._goals is None:
            return torch.zeros_like(measured.object_position)
        rows = torch.arange(len(self._goals), device=self.phase.device)
        before, goal = self.phase, self._goals[rows, self.phase]
        for index, described in enumerate(self.manifest["task"]["goals"]):
            if until := described.get("until"):
                near = torch.linalg.vector_norm(measured.object_position - goal, dim=1) < until["distance_m"]
                lifted = measured.object_position[:, 2] - self._start[:, 2] > until["lifted_m"]
                self.phase = torch.where(near & lifted & (before == index), index + 1, self.phase)
        return self._goals[rows, self.phase]

    def act(self, measured: Measured) -> Tensor:
        """The next joint targets (N, A), rad.

        Raises:
            UserError: no episode was begun with as many robots.
        """
        if len(self.mirrored) != len(measured.joint_position):
            raise UserError(f"act() on {len(measured.joint_position)} robots: begin() an episode of as many first")
        values = {name: getattr(measured, name) for name in INPUTS[:-1]}
        fed = {name: value.float() if value.is_floating_point() else value for name, value in values.items()}
        feeds = {name: value.cpu().numpy() for name, value in {**fed, "mirrored": self.mirrored}.items()}
        action, targets = (torch.from_numpy(out) for out in self._session.run(list(OUTPUTS), feeds))
        self.action = action
        return targets


def _open(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UserError("playing an exported policy needs onnxruntime: pip install 'dexsim[export]'") from None
    with parsing(path, "an exported policy"):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for names, found in ((INPUTS, session.get_inputs()), (OUTPUTS, session.get_outputs())):
            absent = [name for name in names if name not in {each.name for each in found}]
            if absent:
                raise UserError(f"{path}: not an exported policy (no {', '.join(absent)} in it)")
        return session
