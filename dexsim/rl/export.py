"""ONNX export: observation in, joint targets out, with a manifest that says what they mean."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dexsim.control.actions import ActionMap
from dexsim.errors import UserError
from dexsim.files import atomic_path, atomic_write
from dexsim.rl.checkpoint import Checkpoint
from dexsim.rl.player import Policy

logger = logging.getLogger(__name__)

TOLERANCE = 1e-5
INPUTS, OUTPUTS = ("obs", "previous_target", "joint_position"), ("action", "joint_target")


class Controller(nn.Module):
    """Policy and action mapping in one: what a robot needs to go from an observation to joint targets.

    Args:
        policy: (N, num_obs) -> (N, num_actions) in [-1, 1].
        action_map: Action (N, num_actions), previous targets and measured positions, each (N, 26) -> next targets.
    """

    def __init__(self, policy: Policy, action_map: ActionMap) -> None:
        super().__init__()
        self.policy = policy
        self.action_map = action_map

    def forward(self, obs: Tensor, previous_target: Tensor, joint_position: Tensor) -> tuple[Tensor, Tensor]:
        """Return the action (N, num_actions) in [-1, 1] and the joint targets (N, 26)."""
        action = self.policy(obs)
        return action, self.action_map(action, previous_target, joint_position)


def export(checkpoint: Checkpoint, action_map: ActionMap, path: Path) -> dict[str, Any]:
    """Write `path` (ONNX, any batch size) and, beside it, its manifest with the suffix `.json`.

    Args:
        checkpoint: Whose policy to export.
        action_map: Mapping from actions to joint targets; see `Controller`.
        path: The ONNX file.

    Returns:
        The manifest, and in it `max_error`: how far onnxruntime is from torch (null if it is not installed).

    Raises:
        UserError: The packages for the export are missing.
        RuntimeError: onnxruntime and torch disagree by more than 1e-5; no file is written.
    """
    controller = Controller(Policy.from_checkpoint(checkpoint), action_map).eval()
    with atomic_path(path) as temporary:
        _write_onnx(controller, temporary)
        error = _max_error(controller, temporary)
        if error is not None and not error <= TOLERANCE:
            raise RuntimeError(f"onnxruntime differs from torch by {error:g}, more than {TOLERANCE:g}")
    manifest = {**_manifest(checkpoint, controller, path), "max_error": error}
    atomic_write(path.with_suffix(".json"), json.dumps(manifest, indent=2) + "\n")
    return manifest


def _manifest(checkpoint: Checkpoint, controller: Controller, path: Path) -> dict[str, Any]:
    policy = controller.policy
    config = json.dumps(checkpoint.config, sort_keys=True)
    actions, joints = ["batch", policy.num_actions], ["batch", controller.action_map.num_joints]
    return {
        "model": path.name,
        "model_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
        "version": checkpoint.version,
        "frame": checkpoint.frame,
        "inputs": {"obs": ["batch", policy.num_obs], "previous_target": joints, "joint_position": joints},
        "outputs": {"action": actions, "joint_target": joints},
        **checkpoint.spec_table,
    }


def _write_onnx(controller: Controller, path: Path) -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise UserError(f"export needs the package {error.name}: pip install 'dexsim[export]'") from error
    batch = torch.export.Dim("batch")
    with _silence():
        program = torch.onnx.export(
            controller,
            _example(controller, batch=2),
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_shapes=tuple({0: batch} for _ in INPUTS),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    onnx.save(program.model_proto, str(path))


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter from reporting each of its steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _max_error(controller: Controller, path: Path) -> float | None:
    """Return the largest difference between onnxruntime and torch, or None where onnxruntime is not installed."""
    try:
        import onnxruntime
    except ImportError:
        logger.warning("onnxruntime is not installed: the export is not checked")
        return None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    errors: list[float] = []
    for batch in (1, 64):
        example = _example(controller, batch)
        outputs = session.run(list(OUTPUTS), {name: value.numpy() for name, value in zip(INPUTS, example, strict=True)})
        with torch.no_grad():
            errors += [
                float((torch.from_numpy(a) - b).abs().max()) for a, b in zip(outputs, controller(*example), strict=True)
            ]
    return max(errors)


def _example(controller: Controller, batch: int) -> tuple[Tensor, ...]:
    """Return observations as the policy has met them, and some beyond, with previous targets and joint positions."""
    policy, random = controller.policy, torch.Generator().manual_seed(0)
    spread = 3.0 * torch.randn(batch, policy.num_obs, generator=random)
    joints = torch.randn(2, batch, controller.action_map.num_joints, generator=random)
    return policy.mean + policy.std * spread, joints[0], joints[1]
