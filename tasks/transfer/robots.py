"""Robots that a policy was not trained on: simulated ones with hidden constants, and what a fit to their logs finds.

Both become files of tuned robots in a run folder, `robots/<robot>/<seed>/hidden.yaml` and `tuned.yaml`. A fit runs the
verbs `excite` and `autotune`, which see the robot's log only; one that was killed is gone on with.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexsim import __version__, cli
from dexsim.errors import UserError
from dexsim.files import atomic_path, atomic_write
from dexsim.launch.overrides import assign
from dexsim.robots import load_robot
from dexsim.robots.interface import open_robot
from dexsim.robots.tuned import read_tuned, write_tuned
from dexsim.runs import find_run

logger = logging.getLogger(__name__)

FOLDER, HIDDEN, TUNED, LOG = "robots", "hidden.yaml", "tuned.yaml", "log.parquet"
INTERFACE = "simulated"


@dataclass(frozen=True)
class Robots:
    """Simulated robots of one kind, in a folder.

    Attributes:
        section: config section of the robot that they are like.
        folder: where their files are.
        spread: how far their constants lie from the documented ones.
        excite: more options of that verb.
        autotune: more options of that verb.
        fits: folder of the robots of an earlier run, whose fits are taken.
    """

    section: Mapping[str, Any]
    folder: Path
    spread: float
    excite: Sequence[str]
    autotune: Sequence[str]
    fits: Path | None

    def hidden(self, seed: int) -> Path:
        """The file with the constants of the robot of a seed."""
        path = self.folder / str(seed) / HIDDEN
        if not path.is_file():
            robot = load_robot({**self.section, "tuned": None})
            # A tuned robot is what differs from the documented one: what it is tuned from does not matter here.
            with open_robot(INTERFACE, robot, seed=seed, spread=self.spread) as simulated:
                constants = getattr(simulated, "hidden", None)
            if not isinstance(constants, Mapping):
                raise UserError(f"interface {INTERFACE!r} has no hidden constants: another package has that name")
            about = {"tool": f"dexsim {__version__}", "simulated": {"seed": seed, "spread": self.spread}}
            write_tuned(path, robot, constants, about)
        return path

    def tuned(self, seed: int) -> Path:
        """The file with what a fit finds of the robot of a seed; made, in minutes, unless it is there."""
        path = self.folder / str(seed) / TUNED
        if not path.is_file():
            earlier = self._earlier(seed)
            if earlier is None:
                logger.info("robot %d: its log, then a fit to it; minutes", seed)
                earlier = self._fit(seed) / TUNED
            _copy(earlier, path)
        return path

    def _earlier(self, seed: int) -> Path | None:
        """The fit of an earlier run to the same robot."""
        if self.fits is None or not (self.fits / str(seed) / TUNED).is_file():
            return None
        found = self.fits / str(seed)
        same = (found / HIDDEN).is_file() and _constants(found / HIDDEN) == _constants(self.hidden(seed))
        if not same:
            raise UserError(
                f"fits = {str(self.fits)!r}: the robot {seed} there is another one; allowed: the same robots"
            )
        return found / TUNED

    def _fit(self, seed: int) -> Path:
        folder = self.folder / str(seed)
        common = ["name=robot", assign("runs_dir", folder)]
        log, under_way = folder / LOG, find_run(folder / "autotune" / "robot", "fit.npz")
        if under_way is not None:
            return cli.run("autotune", [assign("resume", under_way), *common])
        kind = assign("robot.name", self._name())
        if not log.is_file():
            simulated = f"interface_settings={{seed: {seed}, spread: {self.spread!r}}}"
            run = cli.run("excite", [kind, f"interface={INTERFACE}", simulated, *self.excite, *common])
            _copy(run / LOG, log)
        return cli.run("autotune", [assign("log", log), kind, *self.autotune, *common])

    def _name(self) -> str:
        """Name of the robot; of one that is not shipped, a file with the description that the checkpoint keeps."""
        description, name = self.section.get("description"), str(self.section["name"])
        if description is None or description.get("name") != name:
            return name
        path = self.folder / "robot.json"
        if not path.is_file():
            atomic_write(path, json.dumps(description))
        return str(path)


def fits_folder(path: str) -> Path:
    """The folder of robots that the path of an earlier run, or of its robots, means.

    Raises:
        UserError: for one without fits.
    """
    given = Path(path).expanduser()
    for folder in (given / FOLDER, given):
        if any(folder.glob(f"*/*/{TUNED}")):
            return folder.absolute()
    raise UserError(f"fits = {path!r}: must be a run folder of `dexsim transfer tuned=true`, with {FOLDER}/*/*/{TUNED}")


def _constants(path: Path) -> tuple[Any, Any]:
    """Robot and constants of a file, whichever version wrote it."""
    content = read_tuned(path)
    return content.get("robot"), content.get("constants")


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
