"""The command line: `dexsim <verb> key=value ...`.

A verb is a function `main(config, run)` behind an entry point of the group `dexsim.verbs`; a function
`check(config, overrides)` beside it refuses, without running, what can be known to be wrong. Its config is
`<verb>.yaml` in `paths.cfg_dir()`, composed by Hydra; its help is the docstring of its module. The keys `name`,
`runs_dir` and `objective` are read by the command line; every other key is the verb's to read. With `-m` Hydra runs a
sweep of jobs, each of which is checked before the first runs.
"""

from __future__ import annotations

import argparse
import ast
import errno
import logging
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from omegaconf import OmegaConf

from dexsim import __version__
from dexsim.errors import UserError, unknown
from dexsim.launch import arguments, process
from dexsim.launch.compose import compose, options, read_all, show
from dexsim.launch.verb import Invocation, verbs
from dexsim.registration import source
from dexsim.report import terminal

# What no program can do anything about: the disk is full, read only, or beyond the user's share of it.
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)

__all__ = ["compose", "main", "run", "verbs"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit status.

    It is 0, 2 for a user's mistake, 130 for Ctrl-C; for a sweep 1 where a job failed for any other reason. It is the
    same where the reader of a pipe goes away. Where output is lost for another reason it is 1 instead of 0.
    """
    if argv is None:
        process.set_up()
    with terminal.tolerant():
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        status = _status(list(sys.argv[1:] if argv is None else argv))
        lost = terminal.finish()
        if lost is not None:
            print(f"error: what was printed is lost: {lost}", file=sys.stderr)
    return 1 if lost is not None and status == 0 else status


def run(verb: str, overrides: Sequence[str] = (), folder: str | None = None) -> Path:
    """Runs a verb as the command line does, and returns its run folder.

    Args:
        verb: Its name.
        overrides: `key=value` each; `dexsim.launch.overrides.assign` writes one for a text with any characters.
        folder: A folder of more options, as of `--config-dir`.
    """
    with terminal.tolerant():
        given = read_all(verb, overrides)
        invocation = Invocation.of(verb, compose(verb, given, folder=folder), given)
        made = invocation.make_folder()
        invocation.run(made)
        invocation.value(made.results)  # names an objective that was asked for and is not there
        return made.path


def _status(argv: list[str]) -> int:
    try:
        return _dispatch(argv)
    except UserError as error:
        problem = str(error)
    except UnicodeEncodeError as error:  # a file's name, mostly
        character = str(error.object)[error.start]
        problem = f"cannot use {character!r} in the name of a file: the locale is {error.encoding}; set PYTHONUTF8=1"
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        print(f"error: {error.filename or 'a file'} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print("\n".join(f"error: {line}" for line in problem.splitlines()), file=sys.stderr)
    return 2


def _dispatch(argv: list[str]) -> int:
    given = arguments.parse(argv)
    if given.version:
        print(f"dexsim {__version__}")
    elif given.words:
        return _dispatch_verb(given.words[0], given.words[1:], given)
    elif given.multirun or given.cfg:
        raise unknown("a verb is missing: dexsim <verb> ...", "", verbs())
    else:
        print(_help())
    return 0


def _dispatch_verb(verb: str, overrides: list[str], given: argparse.Namespace) -> int:
    known = verbs()
    if verb not in known:
        raise unknown(f"no verb named {verb!r}", verb, known)
    if given.help:
        print(_verb_help(known[verb], overrides, given.config_dir))
    elif given.cfg:
        print(show(verb, overrides, given.cfg, given.package, given.resolve, given.config_dir))
    elif given.multirun:
        from dexsim.launch.sweep import sweep

        return sweep(verb, overrides, given.config_dir)
    else:
        run(verb, overrides, given.config_dir)
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


def _verb_help(point: metadata.EntryPoint, overrides: Sequence[str], folder: str | None) -> str:
    config = compose(point.name, overrides, with_hydra=True, folder=folder)
    chosen = {group: option for group, option in config.hydra.runtime.choices.items() if "hydra/" not in group}
    groups = [f"  {group}: {option}  [{', '.join(options(group, folder))}]" for group, option in chosen.items()]
    keys = OmegaConf.to_yaml(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))
    return "\n".join(
        [
            f"usage: dexsim {point.name} [key=value ...] [-m] [--cfg job] [--config-dir <folder>]\n",
            _docstring(point),
            *(["\ngroups, the option chosen and [all]:", *groups] if groups else []),
            f"\nkeys and their values:\n\n{keys.rstrip()}",
        ]
    )


def _docstring(point: metadata.EntryPoint) -> str:
    return ast.get_docstring(ast.parse(source(point).read_text(encoding="utf-8"))) or "No help."
