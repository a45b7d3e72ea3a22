"""The path of modules. Imports next to nothing: it is put right before a module is taken from the wrong place."""

import os
import sys

_HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))


def current_folder_last() -> None:
    """Search modules in the current folder last: `tasks`, `wandb` and others there hide no package of that name.

    `python -m` and a `PYTHONPATH` with an empty part have it before everything else. Nothing changes in a checkout,
    where this package itself is found there.
    """
    here = os.getcwd()
    others = [entry for entry in sys.path if os.path.abspath(entry) != here]
    if len(others) < len(sys.path) and here != _HOME:
        sys.path[:] = [*others, here]
