"""The command line: `dexsim <verb> key=value ...`.

A verb is a function `main(config, run)` behind an entry point of the group `dexsim.verbs`. Its config is `<verb>.yaml`
in `paths.cfg_dir()`, composed by Hydra; its help is the docstring of its module. The keys `name` and `runs_dir` are
read here, to make the run folder; every other key is the verb's to read.
"""

from __future__ import annotations

import ast
import importlib.util
import itertools
import logging
import re
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from dexsim import __version__, paths, settings
from dexsim.errors import UserError, one_line, unknown
from dexsim.registration import entry_points, offer_tasks, task_configs
from dexsim.runs import RunFolder

_GROUP = "dexsim.verbs"
_HELP, _MULTIRUN = ("-h", "--help"), ("-m", "--multirun")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit status: 0, 2 for a user's mistake, 130 for Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        _dispatch(list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def verbs() -> dict[str, metadata.EntryPoint]:
    """Returns the entry points of the verbs that are installed, by name."""
    return {name: point for name, point in entry_points(_GROUP).items() if _source(point).is_file()}


def run(verb: str, overrides: Sequence[str] = ()) -> Path:
    """Runs a verb with `key=value` overrides, as the command line does, and returns its run folder."""
    return _execute(verb, compose(verb, overrides), overrides)


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
        if re.match(r"[+~]*hydra\b", override):
            raise UserError(f"cannot use {override!r}: Hydra's own settings have no effect here")
    offer_tasks()
    try:
        with hydra.initialize_config_dir(str(paths.cfg_dir()), version_base="1.3"):
            return hydra.compose(config_name, list(overrides), return_hydra_config=with_hydra)
    except Exception as error:
        raise _explain(error, overrides) from None


def _dispatch(arguments: list[str]) -> None:
    if not arguments or arguments[0] in _HELP:
        print(_help())
    elif arguments[0] == "--version":
        print(f"dexsim {__version__}")
    else:
        _dispatch_verb(arguments[0], arguments[1:])


def _dispatch_verb(verb: str, arguments: list[str]) -> None:
    known = verbs()
    if verb not in known:
        raise unknown(f"no verb named {verb!r}", verb, known)
    options = {argument for argument in arguments if argument.startswith("-")}
    overrides = [argument for argument in arguments if argument not in options]
    for option in options.difference(_HELP, _MULTIRUN):
        raise unknown(f"unknown option {option!r}", option, _HELP + _MULTIRUN)
    if options.intersection(_HELP):
        print(_verb_help(known[verb], overrides))
        return
    sweep = _expand(overrides) if options.intersection(_MULTIRUN) else [overrides]
    # A mistake in the last of a sweep shows before the first has run.
    for given, config in [(given, compose(verb, given)) for given in sweep]:
        _execute(verb, config, given)


def _execute(verb: str, config: DictConfig, overrides: Sequence[str]) -> Path:
    """Runs a verb in a new run folder, whose path is the last line that it prints."""
    config = DictConfig(settings.plain(config))
    function = verbs()[verb].load()
    name, root = str(config.pop("name", verb)), str(config.pop("runs_dir", "runs"))
    try:
        folder = RunFolder.create(verb, name, {"name": name, "runs_dir": root, **config}, root)
    except OSError as error:
        raise UserError(f"runs_dir = {root!r}: cannot make a folder there ({error.strerror})") from None
    folder.overrides = overrides
    folder.given = {override.lstrip("+~").partition("=")[0].partition(".")[0] for override in overrides}
    try:
        with folder:
            function(config, folder)
    finally:
        if folder.path.exists():
            print(folder.path, flush=True)
    return folder.path


def _expand(overrides: Sequence[str]) -> list[list[str]]:
    """Splits the overrides of a sweep, `key=a,b`, into those of each of its runs."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except Exception as error:
        raise _explain(error, overrides) from None
    choices = [
        [f"{item.get_key_element()}={value}" for value in item.sweep_string_iterator()]
        if item.is_sweep_override()
        else [str(item.input_line)]
        for item in parsed
    ]
    return [list(choice) for choice in itertools.product(*choices)]


def _explain(error: Exception, overrides: Sequence[str]) -> UserError:
    """Turns an error of Hydra into one line that names the key, its value and what is allowed."""
    from hydra.errors import MissingConfigException, OverrideParseException
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError

    parts = [override.lstrip("+~").partition("=") for override in overrides]
    given = {key: value for key, _, value in parts}
    cause = error.__cause__ or error
    if isinstance(cause, (ConfigAttributeError, ConfigKeyError)):
        key, allowed = str(cause.full_key), [str(k) for k in cause.parent_node or () if k != "hydra"]
        return unknown(f"unknown key {key!r} = {given.get(key)}", str(cause.key), allowed)
    if isinstance(error, OverrideParseException):
        return UserError(f"cannot read {error.override!r}: expected key=value ({one_line(cause)})")
    if isinstance(error, (MissingConfigException, ValueError)):  # a ValueError: an option that is not even a string
        for group, option in given.items():
            options = _options(group)
            if options and option not in options:
                return unknown(f"no {group!r} named {option!r}", option, options)
    return UserError(one_line(error))


def _options(group: str) -> list[str]:
    own = [file.stem for file in (paths.cfg_dir() / group).glob("*.yaml")] if group else []
    return sorted([*own, *(task_configs() if group == "task" else ())])


def _help() -> str:
    lines = [f"  {name:<10} {_docstring(point).splitlines()[0]}" for name, point in sorted(verbs().items())]
    return "\n".join(
        [
            "usage: dexsim <verb> [key=value ...]\n\nverbs:",
            *lines,
            "\n`dexsim <verb> --help` lists its config; `-m key=a,b` runs once for each value.",
        ]
    )


def _verb_help(point: metadata.EntryPoint, overrides: Iterable[str]) -> str:
    config = compose(point.name, list(overrides), with_hydra=True)
    chosen = {group: option for group, option in config.hydra.runtime.choices.items() if "hydra/" not in group}
    groups = [f"  {group}: {option}  [{', '.join(_options(group))}]" for group, option in chosen.items()]
    keys = OmegaConf.to_yaml(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))
    return "\n".join(
        [
            f"usage: dexsim {point.name} [key=value ...] [-m]\n\n{_docstring(point)}",
            *(["\ngroups, the option chosen and [all]:", *groups] if groups else []),
            f"\nkeys and their values:\n\n{keys.rstrip()}",
        ]
    )


def _source(point: metadata.EntryPoint) -> Path:
    """Returns the file of a verb's module without importing it: help must not wait for torch to load."""
    package, *parts = point.value.partition(":")[0].split(".")
    spec = importlib.util.find_spec(package)
    origin = Path(spec.origin) if spec and spec.origin else Path()
    return origin.parent.joinpath(*parts).with_suffix(".py") if parts else origin


def _docstring(point: metadata.EntryPoint) -> str:
    return ast.get_docstring(ast.parse(_source(point).read_text(encoding="utf-8"))) or "No help."
