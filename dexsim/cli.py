"""The command line: `dexsim <verb> key=value ...`.

A verb is a function `main(config, run)` behind an entry point of the group `dexsim.verbs`. Its config is `<verb>.yaml`
in `paths.cfg_dir()`, composed by Hydra; its help is the docstring of its module. The keys `name`, `runs_dir` and
`objective` are read by the command line; every other key is the verb's to read. With `-m` Hydra runs a sweep of jobs.
"""

from __future__ import annotations

import ast
import logging
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from omegaconf import OmegaConf

from dexsim import __version__
from dexsim.errors import UserError, unknown
from dexsim.launch.compose import compose, options
from dexsim.launch.verb import Invocation, verbs
from dexsim.registration import source

__all__ = ["compose", "main", "run", "verbs"]

_HELP, _MULTIRUN = ("-h", "--help"), ("-m", "--multirun")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit status.

    It is 0, 2 for a user's mistake, 130 for Ctrl-C; for a sweep 1 where a job failed for any other reason.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        return _dispatch(list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def run(verb: str, overrides: Sequence[str] = ()) -> Path:
    """Runs a verb with `key=value` overrides, as the command line does, and returns its run folder."""
    invocation = Invocation.of(verb, compose(verb, overrides), overrides)
    folder = invocation.make_folder()
    invocation.run(folder)
    invocation.value(folder.results)  # names an objective that was asked for and is not there
    return folder.path


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in _HELP:
        print(_help())
    elif arguments[0] == "--version":
        print(f"dexsim {__version__}")
    else:
        return _dispatch_verb(arguments[0], arguments[1:])
    return 0


def _dispatch_verb(verb: str, arguments: list[str]) -> int:
    known = verbs()
    if verb not in known:
        raise unknown(f"no verb named {verb!r}", verb, known)
    flags = {argument for argument in arguments if argument.startswith("-")}
    overrides = [argument for argument in arguments if argument not in flags]
    for flag in flags.difference(_HELP, _MULTIRUN):
        raise unknown(f"unknown option {flag!r}", flag, _HELP + _MULTIRUN)
    if flags.intersection(_HELP):
        print(_verb_help(known[verb], overrides))
    elif flags.intersection(_MULTIRUN):
        from dexsim.launch.sweep import sweep

        return sweep(verb, overrides)
    else:
        run(verb, overrides)
    return 0


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
    groups = [f"  {group}: {option}  [{', '.join(options(group))}]" for group, option in chosen.items()]
    keys = OmegaConf.to_yaml(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))
    return "\n".join(
        [
            f"usage: dexsim {point.name} [key=value ...] [-m]\n\n{_docstring(point)}",
            *(["\ngroups, the option chosen and [all]:", *groups] if groups else []),
            f"\nkeys and their values:\n\n{keys.rstrip()}",
        ]
    )


def _docstring(point: metadata.EntryPoint) -> str:
    return ast.get_docstring(ast.parse(source(point).read_text(encoding="utf-8"))) or "No help."
