"""Composes the config of a verb with Hydra."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dexsim import paths
from dexsim.errors import UserError, one_line, unknown
from dexsim.launch.explain import explain, known
from dexsim.launch.overrides import OURS, is_hydras, key_of, read
from dexsim.registration import offer_tasks

if TYPE_CHECKING:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

_EMPTY = "_dummy_empty_config_.yaml"  # of Hydra's own configs the only one outside the group `hydra`
_lock = threading.RLock()  # Hydra's state is that of the process


def compose(
    config_name: str, overrides: Sequence[str] = (), with_hydra: bool = False, folder: str | None = None
) -> DictConfig:
    """Composes a config of `paths.cfg_dir()`, its values not yet resolved.

    Args:
        config_name: The config, without its suffix.
        overrides: "key=value" each, as `overrides.read` reads them.
        with_hydra: Whether to keep Hydra's own node, which knows the options chosen of each group.
        folder: A folder of more options, as of `--config-dir`.

    Raises:
        UserError: For an unknown key or option, an override that cannot be read, or a broken config file.
    """
    for override in overrides:
        if is_hydras(override):
            raise UserError(f"cannot use {override!r}: Hydra's own settings have no effect without -m")
    with _lock, own_hydra(folder) as loader:
        config = load(loader, config_name, read_all(config_name, overrides))
    if not with_hydra:
        with open_dict(config):
            del config["hydra"]
    return config


def load(loader: ConfigLoaderImpl, config_name: str, overrides: Sequence[str], sweep: bool = False) -> DictConfig:
    """Composes a config, Hydra's own node in it, within `own_hydra`.

    Args:
        loader: What `own_hydra` gave.
        config_name: The config, without its suffix.
        overrides: In Hydra's grammar.
        sweep: Whether they may have several values each.

    Raises:
        UserError: For what `compose` refuses, but Hydra's own settings.
    """
    from hydra.core.utils import JobRuntime
    from hydra.types import RunMode

    JobRuntime.instance().set("name", config_name)
    mode = RunMode.MULTIRUN if sweep else RunMode.RUN
    try:
        return loader.load_configuration(config_name, list(overrides), mode, from_shell=False)
    except Exception as error:
        raise explain(error, overrides, loader) from None


def options(group: str, folder: str | None = None) -> list[str]:
    """Returns the options of a config group, those of tasks from other packages and of a `folder` among them."""
    with _lock, own_hydra(folder) as loader:
        return known(loader, group)


def show(
    config_name: str,
    overrides: Sequence[str],
    kind: str,
    package: str | None = None,
    resolve: bool = False,
    folder: str | None = None,
) -> str:
    """Returns a composed config as YAML, as Hydra's `--cfg` prints it.

    Args:
        config_name: The config, without its suffix.
        overrides: As of `compose`.
        kind: job, hydra or all.
        package: The section to show; None for all of it.
        resolve: Whether interpolations are replaced by their values.
        folder: As of `compose`.

    Raises:
        UserError: For what `compose` refuses, or a section that is not there.
    """
    from hydra.core.hydra_config import HydraConfig

    with _lock, own_hydra(folder) as loader:
        config = load(loader, config_name, read_all(config_name, overrides))
        HydraConfig.instance().set_config(config)
        OmegaConf.set_readonly(config.hydra, None)
        kept = {"job": [str(key) for key in config if key != "hydra"], "hydra": ["hydra"], "all": list(config)}[kind]
        shown: Any = OmegaConf.masked_copy(config, kept)
        try:
            if resolve:
                OmegaConf.resolve(shown)
            if package not in (None, "_global_"):
                shown = OmegaConf.select(shown, package)
        except OmegaConfBaseException as error:
            raise UserError(one_line(error)) from None
    if shown is None:
        raise unknown(f"--package {package}: no such section", package, kept)
    return OmegaConf.to_yaml(shown).rstrip() if OmegaConf.is_config(shown) else str(shown)


@contextmanager
def own_hydra(folder: str | None = None) -> Iterator[ConfigLoaderImpl]:
    """Gives Hydra, all of whose state is global, a state of our own; who else uses it in this process keeps theirs.

    Args:
        folder: A folder of more options, searched after `paths.cfg_dir()`.

    Raises:
        UserError: There is no such folder.
    """
    from hydra import version
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path
    from hydra.core.config_search_path import SearchPathQuery
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.plugins import Plugins
    from hydra.core.singleton import Singleton
    from hydra.core.utils import JobRuntime, setup_globals
    from omegaconf.basecontainer import BaseContainer

    if folder is not None and not os.path.isdir(folder):
        raise UserError(f"--config-dir {folder}: no such folder")
    with _lock:
        Plugins.instance()  # puts their options into the store of everyone
        everyones = ConfigStore.instance().repo
        outside, resolvers = Singleton._instances, dict(BaseContainer._resolvers)
        replaced = (ConfigStore, GlobalHydra, HydraConfig, JobRuntime, version.VersionBase)
        inside = {kind: instance for kind, instance in outside.items() if kind not in replaced}
        Singleton._instances = inside
        ConfigStore.instance().repo = {name: node for name, node in everyones.items() if name in ("hydra", _EMPTY)}
        version.setbase("1.3")
        setup_globals()
    try:
        offer_tasks()
        places = create_config_search_path(str(paths.cfg_dir()))
        if folder is not None:
            places.append("command-line", f"file://{os.path.abspath(folder)}", anchor=SearchPathQuery("main"))
        yield ConfigLoaderImpl(places)
    finally:
        with _lock:
            Singleton._instances = outside
            BaseContainer._resolvers.update(resolvers)


def read_all(verb: str, overrides: Sequence[str], sweep: bool = False) -> list[str]:
    """Returns overrides in Hydra's grammar, each as `overrides.read` reads it.

    A key inside a section that the verb's config leaves open gets the `++` that Hydra wants: whether it can be is up to
    the verb, for which a key that it does not know is an error. With `from=` all sections are open, since they are
    those of a checkpoint.
    """
    texts = [read(override, sweep) for override in overrides]
    sections = _open_sections(verb, any(key_of(text) == "from" for text in texts))
    return [f"++{text}" if _is_open(text, sections) else text for text in texts]


def _is_open(override: str, sections: set[str]) -> bool:
    head, dot, _ = key_of(override).partition(".")
    return head in sections and bool(dot or head in OURS) and override[0] not in "+~"


def _open_sections(verb: str, chosen_elsewhere: bool) -> set[str]:
    """Returns the keys of a verb's config that are null or not there: its groups without a choice, and our own keys.

    Args:
        verb: Its name.
        chosen_elsewhere: Whether no choice of a group counts.
    """
    try:
        config: Any = OmegaConf.load(paths.cfg_dir() / f"{verb}.yaml")
        values = OmegaConf.to_container(config)
    except (OSError, YAMLError, OmegaConfBaseException):
        return set()  # composing it says what is wrong
    if not isinstance(values, dict):
        return set()
    chosen = [item for item in values.pop("defaults", None) or () if isinstance(item, dict)]
    groups = {group for item in chosen for group, option in item.items() if option is None or chosen_elsewhere}
    nothing = {str(key) for key, value in values.items() if value is None}
    return nothing | (groups | set(OURS)).difference(values)
