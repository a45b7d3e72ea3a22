"""PPO settings, and the rl-games parameters that they stand for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from dexsim.errors import UserError, require


@dataclass(frozen=True, kw_only=True)
class LearnerSettings:
    """One multilayer perceptron and how it is fitted to a rollout.

    Attributes:
        units: Hidden layer sizes.
        learning_rate: Adam's step size; for the actor, where the schedule starts.
        mini_epochs: Passes over each rollout. The lever of learning time.
        minibatches: Optimizer steps in a pass. They must divide the rollout (num_envs * horizon).
        max_grad_norm: Gradients are scaled down to this norm.
    """

    units: tuple[int, ...]
    learning_rate: float
    mini_epochs: int
    minibatches: int
    max_grad_norm: float

    def __post_init__(self) -> None:
        require(len(self.units) > 0 and min(self.units) > 0, "units", self.units, "positive layer sizes")
        require(0 < self.learning_rate <= 0.1, "learning_rate", self.learning_rate, "in (0, 0.1]")
        require(self.mini_epochs >= 1, "mini_epochs", self.mini_epochs, "at least 1")
        require(self.minibatches >= 1, "minibatches", self.minibatches, "at least 1")
        require(self.max_grad_norm > 0, "max_grad_norm", self.max_grad_norm, "positive")


@dataclass(frozen=True, kw_only=True)
class PpoSettings:
    """PPO with an asymmetric critic (paper, section C: actor and critic are MLPs of 512, 512, 512).

    Attributes:
        actor: Policy network: observation -> mean action.
        critic: Central value network: state, with what only the simulator knows -> value.
        activation: Of both networks.
        horizon: Policy steps of each environment in a rollout.
        discount_s: Time in s after which a reward counts 1/e; the same at every policy rate.
        tau: Lambda of generalized advantage estimation.
        clip: Width of PPO's trust region, for the probability ratio and the value.
        entropy_coef: Weight of the entropy bonus.
        bounds_coef: Weight of the penalty on mean actions beyond 1.1.
        schedule: Of the learning rates. `adaptive` keeps the KL divergence of a mini-epoch near `target_kl` with the
            actor's; `linear` lets both fall to a hundredth by the end of training; `constant`.
        target_kl: KL divergence that the adaptive schedule aims at.
        action_std: Initial standard deviation of the actions.
        mean_gain: Gain of the orthogonal initialization of the last policy layer. Small: the first policy hardly moves.
        symmetry: Learn from the mirror image of every transition too, where the task is left-right symmetric.
        normalize_input: Whiten observations and states with running statistics.
        normalize_value: Whiten returns with running statistics.
        precision: `bfloat16` learns with bfloat16 matrix products: about twice as fast on CPUs that have them.
        torch_threads: Threads of the learner. More than one competes with the simulator's own.
    """

    actor: LearnerSettings
    critic: LearnerSettings
    activation: Literal["elu", "relu", "tanh", "selu", "swish", "gelu"]
    horizon: int
    discount_s: float
    tau: float
    clip: float
    entropy_coef: float
    bounds_coef: float
    schedule: Literal["adaptive", "linear", "constant"]
    target_kl: float
    action_std: float
    mean_gain: float
    symmetry: bool
    normalize_input: bool
    normalize_value: bool
    precision: Literal["float32", "bfloat16"]
    torch_threads: int

    def __post_init__(self) -> None:
        require(self.horizon >= 1, "horizon", self.horizon, "at least 1")
        require(self.discount_s > 0, "discount_s", self.discount_s, "positive")
        require(0 <= self.tau <= 1, "tau", self.tau, "in [0, 1]")
        require(0 < self.clip < 1, "clip", self.clip, "in (0, 1)")
        require(self.entropy_coef >= 0, "entropy_coef", self.entropy_coef, "0 or more")
        require(self.bounds_coef >= 0, "bounds_coef", self.bounds_coef, "0 or more")
        require(self.target_kl > 0, "target_kl", self.target_kl, "positive")
        require(self.action_std > 0, "action_std", self.action_std, "positive")
        require(self.mean_gain > 0, "mean_gain", self.mean_gain, "positive")
        require(self.torch_threads >= 1, "torch_threads", self.torch_threads, "at least 1")


def rl_games_params(
    settings: PpoSettings,
    num_envs: int,
    seed: int,
    dt: float = 0.1,
    train_dir: str = "runs",
    device: str = "cpu",
) -> dict[str, Any]:
    """Return the `params` dictionary that rl-games builds an agent or a player from.

    Args:
        settings: What to train with.
        num_envs: Parallel environments.
        seed: Of torch, numpy and python, when rl-games' own `Runner` is used.
        dt: Policy period in s.
        train_dir: Folder of the tensorboard summaries.
        device: Where the environment's tensors are, and the networks.

    Raises:
        UserError: A rollout cannot be cut into the minibatches asked for.
    """
    sigma = {"name": "const_initializer", "val": math.log(settings.action_std)}
    mean = {"name": "orthogonal_initializer", "gain": settings.mean_gain}
    gaussian = {
        "mu_activation": "None",
        "sigma_activation": "None",
        "mu_init": mean,
        "sigma_init": sigma,
        "fixed_sigma": True,
    }
    actor = _network(settings.actor, settings.activation)
    actor["space"] = {"continuous": gaussian}
    return {
        "seed": seed,
        "algo": {"name": "a2c_continuous"},
        "model": {"name": "continuous_a2c_logstd"},
        "network": actor,
        "torch_threads": settings.torch_threads,
        "config": _config(settings, num_envs, dt, train_dir, device),
    }


def _config(settings: PpoSettings, num_envs: int, dt: float, train_dir: str, device: str) -> dict[str, Any]:
    return {
        **_fit(settings.actor, settings, num_envs, "actor"),
        "name": "dexsim",
        "full_experiment_name": "tensorboard",
        "env_name": "dexsim",
        "train_dir": train_dir,
        "device": device,
        "device_name": device,
        "num_actors": num_envs,
        "horizon_length": settings.horizon,
        "seq_length": 1,  # no recurrent network: do not constrain the batch
        "ppo": True,
        "gamma": math.exp(-dt / settings.discount_s),
        "tau": settings.tau,
        "entropy_coef": settings.entropy_coef,
        "bounds_loss_coef": settings.bounds_coef,
        "critic_coef": 1.0,  # without effect beside a central value
        "lr_schedule": "adaptive" if settings.schedule == "adaptive" else None,  # rl-games' linear one knows no frames
        "kl_threshold": settings.target_kl,
        "schedule_type": "standard",
        "normalize_value": settings.normalize_value,
        "normalize_advantage": True,
        "value_bootstrap": True,
        "reward_shaper": {"scale_value": 1.0},
        "use_experimental_cv": False,  # the actor's value head stays untrained: the central value is the critic
        "mixed_precision": False,
        "torch_compile": False,
        "print_stats": False,
        "central_value_config": {
            **_fit(settings.critic, settings, num_envs, "critic"),
            "network": {**_network(settings.critic, settings.activation), "central_value": True},
        },
    }


def _fit(learner: LearnerSettings, settings: PpoSettings, num_envs: int, name: str) -> dict[str, Any]:
    batch = num_envs * settings.horizon
    if batch % learner.minibatches:
        raise UserError(
            f"rl.{name}.minibatches={learner.minibatches} must divide num_envs * rl.horizon = "
            f"{num_envs} * {settings.horizon} = {batch}"
        )
    return {
        "learning_rate": learner.learning_rate,
        "mini_epochs": learner.mini_epochs,
        "minibatch_size": batch // learner.minibatches,
        "grad_norm": learner.max_grad_norm,
        "truncate_grads": True,
        "e_clip": settings.clip,
        "clip_value": True,
        "normalize_input": settings.normalize_input,
    }


def _network(learner: LearnerSettings, activation: str) -> dict[str, Any]:
    mlp = {"units": list(learner.units), "activation": activation, "initializer": {"name": "default"}}
    return {"name": "actor_critic", "separate": False, "mlp": mlp}
