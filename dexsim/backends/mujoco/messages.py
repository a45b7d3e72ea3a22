"""What the engine has to say goes where everything else is logged."""

from __future__ import annotations

import logging
import re

logger = logging.getLogger(__name__)

_said: set[str] = set()


def report_warnings() -> None:
    """Log the engine's warnings, each kind once a process.

    By itself MuJoCo prints every one, and adds it to a file `MUJOCO_LOG.TXT` in the current folder.
    """
    import mujoco

    mujoco.set_mju_user_warning(_report)


def _report(message: str) -> None:
    # Kinds differ in their words; which actuator it was and when does not make another one.
    kind = re.sub(r"[-+]?\d[\d.e+-]*", "", message)
    if kind not in _said:
        _said.add(kind)
        logger.warning("MuJoCo: %s", message.strip())
