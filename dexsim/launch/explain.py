"""Says in one line what Hydra refuses: the key, its value and what is allowed, or what to write instead."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from dexsim.errors import UserError, one_line, unknown
from dexsim.launch.overrides import is_hydras, key_of, value_of

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader

# What Hydra's documentation offers and a package of its own brings.
_LAUNCHERS = ("joblib", "ray", "ray_aws", "submitit_local", "submitit_slurm")
_SWEEPERS = ("ax", "nevergrad", "optuna")


def known(loader: ConfigLoader, group: str) -> list[str]:
    """Returns the options of a config group; none where there is no such group."""
    return sorted(loader.get_group_options(group)) if group else []


def explain(error: Exception, overrides: Sequence[str], loader: ConfigLoader) -> UserError:
    """Turns an error of Hydra into one line.

    Args:
        error: What it raised.
        overrides: What was given.
        loader: It knows what there is.
    """
    from hydra.errors import MissingConfigException
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError

    cause = error.__cause__ or error
    if isinstance(cause, (ConfigAttributeError, ConfigKeyError)):
        return _unknown_key(cause, overrides)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return _missing_option(group, option, error.options or known(loader, group))
    if isinstance(error, KeyError):  # of `hydra.job.env_copy`
        return UserError(f"there is no environment variable {error}")
    if isinstance(error, ValueError):  # an option that is not even a string
        for override in overrides:
            group, option = key_of(override), value_of(override)
            allowed = known(loader, group)
            if allowed and option not in allowed:
                return unknown(f"no {group!r} named {option!r}", option, allowed)
    message = one_line(error)
    if message.startswith("Error merging override"):  # which does not say why
        message = f"{message}: {one_line(cause)}"
    return _reworded(message, overrides)


def _unknown_key(error: Any, overrides: Sequence[str]) -> UserError:
    key, section = str(error.full_key), error.parent_node
    allowed = [str(name) for name in section if name != "hydra"] if OmegaConf.is_config(section) else []
    given = {key_of(override): override for override in overrides}
    if key in given:
        problem = f"unknown key {key!r} = {value_of(given[key])}"
    else:  # the section of one, or in a mapping
        near = (text for name, text in given.items() if f"{name}.".startswith(f"{key}.") or key.startswith(f"{name}."))
        override = given[key] = next(near, "")
        problem = f"unknown key {key!r}" + (f" in {override!r}" if override else "")
    if not allowed and given[key]:
        return UserError(f"{problem}; allowed: nothing, or a key that is new: {shlex.quote(f'+{given[key]}')}")
    return unknown(problem, str(error.key), allowed)


def _missing_option(group: str, option: str, allowed: Sequence[str]) -> UserError:
    missing = f"{group}={option}: its plugin is not installed: pip install"
    if group == "hydra/launcher" and option in _LAUNCHERS:
        return UserError(f"{missing} 'dexsim[launchers]'")
    if group == "hydra/sweeper" and option in _SWEEPERS:
        return UserError(f"{missing} hydra-{option}-sweeper")
    return unknown(f"no {group!r} named {option!r}", option, allowed)


def _reworded(message: str, overrides: Sequence[str]) -> UserError:
    """Returns an error of Hydra's, in other words where its own leave open what to write."""
    taken = re.match(
        r"Could not append to config\. An item is already at '(.*?)'"
        r"|Multiple values for (\S+)\."
        r"|(\S+) appears more than once in the final defaults list",
        message,
    )
    if taken is not None:
        key = next(filter(None, taken.groups()))
        override = next((text for text in overrides if text[0] == "+" and key_of(text) == key), f"+{key}")
        return UserError(f"{override}: there is a {key} already; write {shlex.quote(override.lstrip('+'))}")
    empty = next((text for text in overrides if is_hydras(text) and "." in key_of(text)), None)
    if empty is not None and re.match(r"Unexpected type for root: NoneType|'NoneType' object", message):
        return UserError(f"cannot use {empty!r}: Hydra sets nothing in a section that is null; a file of options can")
    gone = re.match(r"Could not delete from config\. (.*?)\.?$", message)
    if gone is not None:
        return UserError(f"nothing to delete: {gone[1]}")
    return UserError(re.sub(r"\.?; To append to your .*", "", message))  # which leads to a key that nobody knows
