"""The simulated robot: its description, physics backends, observations, actions, environment and PPO."""

import sys

from dexsim.launch.search_path import current_folder_last

if sys.argv[:1] == ["-m"]:  # `python -m dexsim`, whose current folder may hide what is imported next
    current_folder_last()

from dexsim.registration import register_environments

__version__ = "0.1.0"

register_environments()
