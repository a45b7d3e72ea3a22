"""The simulated robot: its description, physics backends, observations, actions, environment and PPO."""

from dexsim.launch.process import current_folder_last, is_command_line

if is_command_line():  # before it imports anything that a folder of the user's may hide
    current_folder_last()

from dexsim.registration import register_environments

__version__ = "0.1.0"

register_environments()
