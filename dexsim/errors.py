"""The error that a user can mend."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator

LONGEST = 300  # characters of what a library says; some quote a whole file


class UserError(ValueError):
    """A mistake in what the user gave: one line that names the thing, its value and what is allowed.

    The command line prints it without a traceback and exits with status 2.
    """


def unknown(problem: str, name: object, allowed: Iterable[str]) -> UserError:
    """Returns the error for a name that is none of those allowed.

    Args:
        problem: What is wrong, with the name in it: "no task named 'box_lft'".
        name: The name as given; a close match among `allowed` is suggested.
        allowed: The names that would have been right, listed in their own order.
    """
    names = list(allowed)
    match = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {match[0]!r}?" if match else ""
    return UserError(f"{problem}; allowed: {', '.join(names) or 'nothing'}{hint}")


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Checks one value of a settings dataclass, in its `__post_init__`.

    Args:
        condition: Whether the value is right.
        name: The field; `settings.build` puts the path of the config section in front of it.
        value: The value as given.
        allowed: What it must be: "at least 1", "a multiple of minibatch_size (512)".

    Raises:
        UserError: If it is not.
    """
    if not condition:
        raise UserError(f"{name} = {value!r}: must be {allowed}")


@contextlib.contextmanager
def parsing(owner: object, kind: str) -> Iterator[None]:
    """Turns whatever broken content makes of a reader into one line: for blocks that do nothing but read.

    A reader checks what people get wrong and says so in its own words; what is left is a file that was damaged, or
    made by something else, which breaks code in as many ways as there are kinds of damage.

    Args:
        owner: What is read: a path, or the key that names it.
        kind: What it should be: "a tuned robot".

    Raises:
        UserError: In place of any other error; one that is raised in the block passes as it is.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{owner}: not {kind} ({problem_of(error)})") from error


def problem_of(error: Exception) -> str:
    """Returns in one line what broken content led to: the error's message, that a key is not there, or its kind."""
    problem = one_line(error)[:LONGEST] or type(error).__name__
    return f"no {problem}" if isinstance(error, KeyError) else problem


def one_line(error: BaseException) -> str:
    """Returns the message of a library's error with its lines joined."""
    lines = (line.strip() for line in str(error).splitlines())
    return "; ".join(line for line in lines if line and not line.startswith("See http"))
