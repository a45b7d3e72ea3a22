"""The simulated robot: its description, physics backends, observations, actions, environment and PPO."""

from dexsim.registration import register_environments

__version__ = "0.1.0"

register_environments()
