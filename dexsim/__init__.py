"""The simulated robot: its description, physics backends, observations, actions, environment and PPO."""

__version__ = "0.1.0"
