"""The options of the command line: those of Hydra, each of which has its effect here or is refused by name."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from dexsim.errors import UserError, unknown

KINDS = ("job", "hydra", "all")  # what `--cfg` prints
_ALLOWED = ("--help", "--multirun", "--run", "--cfg", "--package", "--resolve", "--config-dir", "--version")
# Options of Hydra that have no place here, and what has.
_REFUSED = {
    ("--config-name", "-cn"): "the config is that of the verb",
    ("--config-path", "-cp"): "the configs are those that ship; --config-dir adds a folder of your own options",
    ("--hydra-help",): "`dexsim --help` lists the verbs, `dexsim <verb> --help` its keys, cfg/README.md tells the rest",
    ("--info", "-i"): "`--cfg hydra` prints what Hydra works with",
    ("--shell-completion", "-sc"): "there is no completion of verbs and keys",
    ("--experimental-rerun",): "a run folder's run.json has the overrides to run it again with",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(message)


class _Refuse(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> NoReturn:
        raise UserError(f"cannot use {option_string}: {self.const}")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns what was given: `words` (the verb and its overrides), and the options by their names.

    Raises:
        UserError: For an option that there is not, or that cannot be used with another.
    """
    parser = _Parser(add_help=False, allow_abbrev=False, usage=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*")
    parser.add_argument("-h", "--help", action="store_true")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--version", action="store_true")
    mode.add_argument("-r", "--run", action="store_true")  # the default
    mode.add_argument("-m", "--multirun", action="store_true")
    mode.add_argument("-c", "--cfg", choices=KINDS)
    parser.add_argument("-p", "--package")
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("-cd", "--config-dir")
    for names, reason in _REFUSED.items():
        parser.add_argument(*names, nargs="?", action=_Refuse, const=reason)
    found, left = parser.parse_known_intermixed_args(list(arguments))
    if left:
        problem = f"unknown option {left[0]!r}; keys of the config are written without dashes, key=value"
        raise unknown(problem, left[0].partition("=")[0], _ALLOWED)
    if found.cfg is None and (found.resolve or found.package is not None):
        raise UserError("--resolve and --package say how --cfg prints: --cfg job, hydra or all is missing")
    return found
