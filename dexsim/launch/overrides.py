"""`key=value`: what a user may write, in Hydra's grammar, and what is printed to be pasted into a shell.

Hydra's grammar knows few characters outside quotes: no umlaut, `=`, `#`, `~` or bracket. A value that it cannot read
can only be meant as text, so that is how it is taken: `checkpoint=läufe (1)` needs no quotes but the shell's own.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from functools import cache
from typing import Any

from dexsim.errors import UserError, one_line

# What the command line itself reads, of every verb.
OURS = ("name", "runs_dir", "objective")
_TEXT = ("name", "runs_dir")  # text even where it reads like a number: `name=1e3`


def key_of(override: str) -> str:
    """Returns the key of an override: "task.alpha" of "+task.alpha=2"."""
    return override.lstrip("+~").partition("=")[0]


def value_of(override: str) -> str:
    """Returns the value of an override as text, without the quotes around it: "2" of "+task.alpha=2"."""
    text = override.partition("=")[2]
    value = _parse(override).value() if text[:1] in ("'", '"') and _parses(override) else None
    return value if isinstance(value, str) else text


def given(overrides: Iterable[str]) -> set[str]:
    """Returns the keys of a verb's own config that overrides change, at its top level: "task" of "+task.alpha=2"."""
    return {re.split(r"[@.]", key_of(override))[0] for override in overrides}.difference(OURS)


def put_given(below: Mapping[str, Any], composed: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Returns a config with what overrides change in another one put into its place, and nothing else of that.

    A group or a whole section (`robot=gr1t2_tuned`) has its keys put over those of the section; `~task.weights.tilt`
    takes a key out.

    Args:
        below: The config that all else is of.
        composed: The config that the overrides made.
        overrides: `key=value` each.
    """
    values = deepcopy(dict(below))
    paths = [re.split(r"[@.]", key_of(override)) for override in overrides]
    # Sections before keys in them, and a name before all others: another one replaces the section.
    for path in sorted(
        (path for path in paths if path[0] not in OURS), key=lambda path: (len(path), path[-1] != "name")
    ):
        *sections, last = path
        target, source = values, composed
        for name in sections:
            target, source = target.setdefault(name, {}), source.get(name) or {}
            if not isinstance(target, dict):
                break
        if last == "name" and sections and is_another(target, source):
            target.clear()
        if last not in source:
            target.pop(last, None)
        elif isinstance(source[last], Mapping) and not sections:
            target[last] = replaced(target.get(last) or {}, source[last])
        else:
            target[last] = deepcopy(source[last])
    return values


def replaced(section: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns a config section with keys that were given in place of its own.

    An empty one (`{}`) replaces all, and so does one of another `name`: its keys are not those of the one before.
    """
    new = deepcopy(dict(given or {}))
    return new if given == {} or is_another(section, new) else {**section, **new}


def is_another(section: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Returns whether what is given names another simulator, task or robot than a section does."""
    return "name" in given and "name" in section and given["name"] != section["name"]


def is_hydras(override: str) -> bool:
    """Returns whether an override is one of Hydra's own settings: `hydra/launcher=joblib`, `hydra.verbose=true`."""
    return re.match(r"[+~]*hydra\b", override) is not None


def assign(key: str, value: object) -> str:
    """Returns the override that gives a key this very text, whatever characters are in it."""
    text = str(value)
    plain = f"{key}={text}"
    if text and _parses(plain) and _parse(plain).value() == text and "${" not in text:
        return plain
    return f"{key}={_quoted(text.replace('${', chr(92) + '${'))}"  # an escaped ${ refers to no other key


def command(verb: str, *overrides: str) -> str:
    """Returns the command that runs a verb, to be pasted into a shell."""
    return shlex.join(["dexsim", verb, *overrides])


def read(override: str, sweep: bool = False) -> str:
    """Returns an override in Hydra's grammar: as it is, or with quotes around what can only be text.

    A leading `~` of a value is the home folder, as in a shell.

    Args:
        override: As it was given.
        sweep: Whether it may have several values.

    Raises:
        UserError: It cannot be read, and the line says how to write it.
    """
    if re.search("[\ud800-\udfff]", override):  # bytes of an argument that are no characters
        raise UserError(f"cannot read {override!a}: it is not UTF-8")
    key, equals, value = override.partition("=")
    if not equals:
        if not override.startswith("~") or not _parses(override):
            raise UserError(f"cannot read {override!r}: expected key=value, without blanks around the =")
        return override
    if not key_of(override) or not _parses(f"{key}=1"):
        raise UserError(f"cannot read {override!r}: {key!r} is no key, which has letters, digits and any of . _ - / @")
    if not value:
        raise UserError(f"{override} has no value: {key}=null is none, {shlex.quote(assign(key, ''))} an empty text")
    text = f"{key}={','.join(_element(part, key_of(override) in _TEXT) for part in _split(value))}"
    problem = _problem(text)
    if problem is not None:
        raise UserError(f"cannot read {override!r}: {problem}; as text it is {shlex.quote(assign(key, value))}")
    if not sweep and _parse(text).is_sweep_override():
        raise _several(key, value, _parse(text).value_type.name == "SIMPLE_CHOICE_SWEEP")
    return text


def _several(key: str, value: str, simple: bool) -> UserError:
    """Returns the error for several values of which a single run can have but one; `simple` if they are `a,b`."""
    listed, text = shlex.quote(f"{key}=[{value}]"), shlex.quote(assign(key, value))
    otherwise = f"{listed} is a list, {text} a text" if simple else f"{text} is a text"
    return UserError(f"{key}={value} has several values: -m runs once with each, {otherwise}")


def _element(text: str, as_text: bool = False) -> str:
    """Returns one value, or what is inside one, in Hydra's grammar; what is broken stays as it is."""
    if text.startswith("~"):
        text = os.path.expanduser(text)
    if _parses(f"x={text}"):
        parsed = _parse(f"x={text}")
        plain = as_text and not parsed.is_sweep_override()  # choice(a,b) are two texts
        return _quoted(text) if plain and not isinstance(parsed.value(), (str, list, dict)) else text
    if text[:1] in ("'", '"') or text.count("${") > text.count("}"):  # begun as something else than text
        return text
    if text[:1] in ("[", "{"):
        end = _closing(text)
        if end is None:
            return text
        if end == len(text) - 1:
            inside = _pair if text[0] == "{" else _element
            return text[0] + ",".join(map(inside, _split(text[1:-1]))) + text[-1]
    call = re.fullmatch(r"(\w+) *\((.*)\)", text, re.DOTALL)
    if call is not None and call[1] in _functions():
        return f"{call[1]}({','.join(map(_element, _split(call[2])))})"
    return _quoted(text)


def _pair(text: str) -> str:
    key, colon, value = text.partition(":")
    return f"{key}{colon}{_element(value.strip())}"


def _split(text: str) -> Iterator[str]:
    """Yields the parts between commas, but for commas in brackets and quotes."""
    start, depth, quote = 0, 0, ""
    for i, character in enumerate(text):
        if quote:
            quote = "" if character == quote and text[i - 1] != "\\" else quote
        elif character in "'\"" and not text[start:i].strip(" [{("):
            quote = character  # one within a word is an apostrophe
        elif character in "[{(":
            depth += 1
        elif character in "]})":
            depth = max(0, depth - 1)
        elif character == "," and depth == 0:
            yield text[start:i].strip()
            start = i + 1
    yield text[start:].strip() if start else text


def _closing(text: str) -> int | None:
    """Returns where the bracket that a text starts with is closed."""
    depth = 0
    for i, character in enumerate(text):
        depth += (character in "[{(") - (character in "]})")
        if depth == 0:
            return i
    return None


def _quoted(text: str) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text, Quote.double).with_quotes()


def _problem(override: str) -> str | None:
    """Returns why Hydra cannot read an override, None where it can."""
    from hydra.errors import HydraException

    try:
        _parse(override)
    except HydraException as error:
        value = override.partition("=")[2]
        if value[:1] in ("'", '"'):
            return "its quotes do not end where the value does"
        if value[:1] in ("[", "{") and _closing(value) is None:
            return f"a {value[0]} is not closed"
        if value.count("${") > value.count("}"):
            return "a ${ is not closed"
        reason = one_line(error)
        return "its value is none" if re.search("expecting|no viable|NoViable", reason) else reason  # of the grammar
    return None


def _parses(override: str) -> bool:
    return _problem(override) is None


def _parse(override: str) -> Any:
    """Returns what Hydra makes of an override.

    Raises:
        HydraException: Nothing.
    """
    return _parser().parse_rule(override, "override")


@cache
def _parser() -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def _functions() -> set[str]:
    return set(_parser().functions.functions)
