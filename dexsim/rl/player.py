"""A trained policy as a plain torch module."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from dexsim.rl.checkpoint import Checkpoint, load

ACTIVATIONS = {
    "elu": nn.ELU,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "selu": nn.SELU,
    "swish": nn.SiLU,
    "gelu": nn.GELU,
}
EPSILON, CLAMP = 1e-5, 5.0  # of rl-games' input normalizer


class Policy(nn.Module):
    """The deterministic policy, (N, num_obs) -> (N, num_actions) in [-1, 1], with its input normalizer inside.

    It equals rl-games' own player to the last bit and needs neither rl-games nor an environment.

    Args:
        num_obs: Width of the observation.
        units: Hidden layer sizes.
        num_actions: Width of the action.
        activation: A key of `ACTIVATIONS`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, num_obs: int, units: Sequence[int], num_actions: int, activation: str = "elu") -> None:
        super().__init__()
        sizes = [num_obs, *units]
        layers: list[nn.Module] = []
        for size_in, size_out in itertools.pairwise(sizes):
            layers += [nn.Linear(size_in, size_out), ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], num_actions))
        self.normalize = True
        self.register_buffer("mean", torch.zeros(num_obs))
        self.register_buffer("std", torch.ones(num_obs))

    @property
    def num_obs(self) -> int:
        """Width of the observation."""
        return self.mean.shape[0]

    @property
    def num_actions(self) -> int:
        """Width of the action."""
        return self.layers[-1].out_features  # type: ignore[return-value]

    def forward(self, obs: Tensor) -> Tensor:
        """Return actions (N, num_actions) in [-1, 1] for observations (N, num_obs)."""
        if self.normalize:
            obs = ((obs - self.mean) / self.std).clamp(-CLAMP, CLAMP)
        return self.layers(obs).clamp(-1.0, 1.0)

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """Read the policy of a checkpoint file or of a run folder.

        Raises:
            UserError: There is no checkpoint, or it is not one of ours.
        """
        return cls.from_checkpoint(load(path))

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Policy:
        """Rebuild the policy of a checkpoint, ready for inference."""
        model: dict[str, Tensor] = checkpoint.state["model"]
        linear = [model[f"{name}.weight"] for name in _linear_layers(model)]
        policy = cls(
            num_obs=linear[0].shape[1],
            units=[weight.shape[0] for weight in linear[:-1]],
            num_actions=linear[-1].shape[0],
            activation=checkpoint.config["rl"]["activation"],
        )
        with torch.no_grad():
            layers = (layer for layer in policy.layers if isinstance(layer, nn.Linear))
            for layer, name in zip(layers, _linear_layers(model), strict=True):
                layer.weight.copy_(model[f"{name}.weight"])
                layer.bias.copy_(model[f"{name}.bias"])
        policy.normalize = "running_mean_std.running_mean" in model
        if policy.normalize:
            policy.mean.copy_(model["running_mean_std.running_mean"])
            policy.std.copy_((model["running_mean_std.running_var"].float() + EPSILON).sqrt())
        return policy.requires_grad_(False).eval()


def _linear_layers(model: Mapping[str, Tensor]) -> list[str]:
    hidden = sorted(
        (
            key[: -len(".weight")]
            for key in model
            if key.startswith("a2c_network.actor_mlp.") and key.endswith(".weight")
        ),
        key=lambda name: int(name.rsplit(".", 1)[1]),
    )
    return [*hidden, "a2c_network.mu"]
