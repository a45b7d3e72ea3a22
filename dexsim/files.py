"""Files that are never half written."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which replaces it only once the block has ended well.

    The temporary path keeps the suffix, since many writers take the format from it. A crash, even of the machine,
    leaves either the old file or the new one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        _fsync(temporary)
        os.replace(temporary, path)
        _fsync(path.parent)
    finally:
        if temporary.exists():
            temporary.unlink()


def remove_stale(folder: Path) -> None:
    """Removes what `atomic_path` left in a folder where a process was killed in the middle of a write."""
    for path in folder.glob(".*.tmp*"):
        match = re.fullmatch(r"\..+\.(\d+)\.tmp(\.[^.]+)?", path.name)
        if match and not _is_alive(int(match.group(1))):
            with contextlib.suppress(OSError):  # a folder that is only read does no harm
                path.unlink()


def atomic_write(path: str | Path, data: bytes | str) -> None:
    """Writes a whole file, or nothing of it; text as UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)


@contextlib.contextmanager
def made_up_for(what: str) -> Iterator[None]:
    """Lets a write fail that a later one makes up for: a full disk is a warning, not the end of long work.

    Args:
        what: What is written in the block: "the curve".
    """
    try:
        yield
    except OSError as error:
        logger.warning("%s was not written (%s); it is tried again", what, error.strerror or error)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's process; no process at all, and no name of ours
        pass
    return True


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
