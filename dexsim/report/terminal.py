"""Output that stops no run: to a closed pipe, a full disk, or a terminal that knows few characters."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


class _Tolerant:
    """Stands in for a stream of text: no write fails, and a character that it has not is written as its number.

    Attributes:
        error: Why writing failed, if it did; what came after that is lost.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        with self._tolerating():
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with self._tolerating():
            self._stream.flush()

    def isatty(self) -> bool:
        with contextlib.suppress(ValueError):  # a closed one
            return self._stream.isatty()
        return False

    def give_up(self) -> None:
        """Lets what is not yet written, and what processes started from here write, go nowhere."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _tolerating(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error
            if error.errno == errno.EPIPE:  # for good: nobody can read it any more
                self.give_up()
        except ValueError:  # somebody closed it
            pass


def console() -> Console:
    """Returns what prints tables: text in them is taken as it is, also `[can]` and `:cat:`."""
    from rich.console import Console

    return Console(markup=False, emoji=False)


@contextlib.contextmanager
def tolerant() -> Iterator[None]:
    """Lets nothing that is written to `sys.stdout` and `sys.stderr` raise, for as long as the block runs."""
    with contextlib.ExitStack() as stack:
        for redirect, stream in ((contextlib.redirect_stdout, sys.stdout), (contextlib.redirect_stderr, sys.stderr)):
            if stream is None:  # a process without a terminal
                stack.enter_context(redirect(stack.enter_context(open(os.devnull, "w"))))
            elif not isinstance(stream, _Tolerant):
                stack.enter_context(redirect(_Tolerant(stream)))  # type: ignore[type-var]
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()


def finish() -> str | None:
    """Writes what is left to write, and returns why what was printed is lost; None where it is not.

    A pipe whose reader has gone is no loss: who closes it wants no more.
    """
    problem = None
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, _Tolerant):
            stream.flush()
            if stream.error is not None:
                stream.give_up()
                if stream.error.errno != errno.EPIPE:
                    problem = problem or stream.error.strerror
    return problem
