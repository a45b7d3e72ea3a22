"""One line that tells how far long work is."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time

logger = logging.getLogger(__name__)

PERIOD = 10.0  # seconds between two lines, where they cannot overwrite each other


class ProgressLine:
    """Overwrites itself on a terminal, and is logged every few seconds elsewhere."""

    def __init__(self) -> None:
        # A process may have no stderr at all, and a dumb terminal cannot go back in a line.
        self._terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._due = 0.0

    def show(self, text: str) -> None:
        """Show the newest state."""
        if self._terminal:
            width = shutil.get_terminal_size().columns
            sys.stderr.write(f"\r\033[K{text[: width - 1]}")
            sys.stderr.flush()
        elif time.perf_counter() >= self._due:
            self._due = time.perf_counter() + PERIOD
            logger.info(text)

    def close(self) -> None:
        """Leave the last line standing."""
        if self._terminal:
            sys.stderr.write("\n")


def minutes(seconds: float) -> str:
    """Return seconds as `m:ss`."""
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
