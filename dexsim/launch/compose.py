"""Composes the config of a verb with Hydra, and explains in one line what Hydra refuses."""

from __future__ import annotations

import re
from collections.abc import Sequence

from omegaconf import DictConfig

from dexsim import paths
from dexsim.errors import UserError, one_line, unknown
from dexsim.registration import offer_tasks, task_configs

# What Hydra's documentation offers and a package of its own brings.
_LAUNCHERS = ("joblib", "ray", "ray_aws", "submitit_local", "submitit_slurm")
_SWEEPERS = ("ax", "nevergrad", "optuna")


def compose(config_name: str, overrides: Sequence[str] = (), with_hydra: bool = False) -> DictConfig:
    """Composes a config of `paths.cfg_dir()`, its values not yet resolved.

    Args:
        config_name: The config, without its suffix.
        overrides: "key=value" of Hydra's grammar.
        with_hydra: Whether to keep Hydra's own node, which knows the options chosen of each group.

    Raises:
        UserError: For an unknown key or option, an override that cannot be read, or a broken config file.
    """
    import hydra

    for override in overrides:
        if is_hydras(override):
            raise UserError(f"cannot use {override!r}: Hydra's own settings have no effect without -m")
    offer_tasks()
    try:
        with hydra.initialize_config_dir(str(paths.cfg_dir()), version_base="1.3"):
            return hydra.compose(config_name, list(overrides), return_hydra_config=with_hydra)
    except Exception as error:
        raise explain(error, overrides) from None


def is_hydras(override: str) -> bool:
    """Returns whether an override is one of Hydra's own settings: `hydra/launcher=joblib`, `hydra.verbose=true`."""
    return re.match(r"[+~]*hydra\b", override) is not None


def key_of(override: str) -> str:
    """Returns the key of an override: "task.alpha" of "+task.alpha=2"."""
    return override.lstrip("+~").partition("=")[0]


def options(group: str) -> list[str]:
    """Returns the options that a config group has in `paths.cfg_dir()`, and tasks of other packages among them."""
    own = [file.stem for file in (paths.cfg_dir() / group).glob("*.yaml")] if group else []
    return sorted([*own, *(task_configs() if group == "task" else ())])


def explain(error: Exception, overrides: Sequence[str]) -> UserError:
    """Turns an error of Hydra into one line that names the key, its value and what is allowed."""
    from hydra.errors import MissingConfigException, OverrideParseException
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError

    given = {key_of(override): override.partition("=")[2] for override in overrides}
    cause = error.__cause__ or error
    if isinstance(cause, (ConfigAttributeError, ConfigKeyError)):
        key, allowed = str(cause.full_key), [str(k) for k in cause.parent_node or () if k != "hydra"]
        return unknown(f"unknown key {key!r} = {given.get(key)}", str(cause.key), allowed)
    if isinstance(error, OverrideParseException):
        return UserError(f"cannot read {error.override!r}: expected key=value ({one_line(cause)})")
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return _explain_missing(group, option, error.options or options(group))
    if isinstance(error, ValueError):  # an option that is not even a string
        for group, option in given.items():
            known = options(group)
            if known and option not in known:
                return unknown(f"no {group!r} named {option!r}", option, known)
    return UserError(one_line(error))


def _explain_missing(group: str, option: str, allowed: Sequence[str]) -> UserError:
    missing = f"{group}={option}: its plugin is not installed: pip install"
    if group == "hydra/launcher" and option in _LAUNCHERS:
        return UserError(f"{missing} 'dexsim[launchers]'")
    if group == "hydra/sweeper" and option in _SWEEPERS:
        return UserError(f"{missing} hydra-{option}-sweeper")
    return unknown(f"no {group!r} named {option!r}", option, allowed)
