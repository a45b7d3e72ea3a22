"""Measure how a policy fares beyond the simulator it was trained in: on other engines, and on robots that it never saw.

Rows of the table are engines, columns robots: the checkpoint's own, simulated ones with hidden constants, and with
`tuned=true` what autotune finds from a log of each of those. Every cell has the same episodes. Written are
`transfer.csv`, `episodes.parquet`, `result.json` and `report.html`: success with 95% Wilson intervals, and where it is
lost: by stage, by slip in the hands, by how well joints follow. Engines that are not installed are left out. Ctrl-C or
a crash loses a cell at most: go on with `resume=<run folder>`.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dexsim import cli, settings
from dexsim.backends.base import BACKENDS
from dexsim.env.randomization import OF_ROBOT
from dexsim.errors import UserError, one_line, parsing, require
from dexsim.files import atomic_write
from dexsim.launch.overrides import assign, command, given
from dexsim.report.progress import minutes
from dexsim.rl import checkpoint as checkpoints
from dexsim.rl.checkpoint import Checkpoint
from dexsim.runs import RunFolder, find_run
from tasks.transfer import cells, report
from tasks.transfer.cells import Cell, Column, Outcome, Place
from tasks.transfer.robots import FOLDER, Robots, fits_folder
from tasks.verbs.evaluate import EvaluateSettings, environment_of, refuse_training_only

logger = logging.getLogger(__name__)

Section = dict[str, Any] | None
CONFIG = "transfer.yaml"  # what a run goes on with, with absolute paths
MOST_ROBOTS = 1000


@dataclass(frozen=True, kw_only=True)
class TransferSettings:
    """Config of `dexsim transfer`; its values are in `cfg/transfer.yaml`.

    Attributes:
        checkpoint: Checkpoint file or run folder, or a list of them.
        episodes: Of each cell.
        num_envs: Environments that are stepped together.
        seed: Of the set of episodes.
        threads: Simulation threads, 0 for one a core.
        engines: Name of a row -> what takes the place of the checkpoint's section `backend`; None leaves it out.
        rows: Names of the engines that are run, None for all.
        robots: How many simulated robots.
        robot_seed: Of the first of them.
        spread: How far their constants lie from the documented ones.
        tuned: Whether to add what autotune finds from their logs.
        fits: Run folder of an earlier transfer whose fits are taken.
        excite: More options of that verb.
        autotune: More options of that verb.
        task: What takes the place of the checkpoint's section, as does `randomization`.
        resume: Run folder to go on with.
    """

    checkpoint: str | list[str]
    episodes: int
    num_envs: int
    seed: int
    threads: int
    engines: dict[str, Section]
    rows: list[str] | None
    robots: int
    robot_seed: int
    spread: float
    tuned: bool
    fits: str | None
    excite: list[str]
    autotune: list[str]
    task: Section = None
    randomization: Section = None
    resume: str | None

    def __post_init__(self) -> None:
        require(bool(self.checkpoints), "checkpoint", self.checkpoint, "a checkpoint or more")
        require(self.episodes >= 1, "episodes", self.episodes, "at least 1")
        require(self.num_envs >= 1, "num_envs", self.num_envs, "at least 1")
        require(self.threads >= 0, "threads", self.threads, "0 (one a core) or more")
        require(0 <= self.seed < 2**32, "seed", self.seed, "0 to 4294967295")
        require(0 <= self.robots <= MOST_ROBOTS, "robots", self.robots, f"0 to {MOST_ROBOTS}")
        require(0 <= self.robot_seed < 2**32, "robot_seed", self.robot_seed, "0 to 4294967295")
        require(0 <= self.spread <= 10, "spread", self.spread, "0 to 10")
        require(not self.tuned or self.robots > 0, "tuned", self.tuned, "false where robots = 0")
        require(self.tuned or self.fits is None, "fits", self.fits, "null without tuned=true")
        sound = all(re.fullmatch(r"\w[\w.-]*", name) for name in self.engines)
        require(sound, "engines", list(self.engines), "named with letters, digits and any of _ . -")
        for name, section in self.engines.items():
            require("threads" not in (section or {}), f"engines.{name}.threads", "given", "left out: give threads=")
        for name in self.rows or ():
            require(name in self.engines, "rows", self.rows, f"a list of {', '.join(self.engines)}")
        require(bool(self.chosen), "rows", self.rows, "an engine or more, or null for all")

    @property
    def checkpoints(self) -> list[str]:
        """`checkpoint` as a list."""
        return [self.checkpoint] if isinstance(self.checkpoint, str) else self.checkpoint

    @property
    def seeds(self) -> range:
        """Of the simulated robots."""
        return range(self.robot_seed, self.robot_seed + self.robots)

    @property
    def chosen(self) -> dict[str, dict[str, Any]]:
        """The engines that were asked for, by the names of their rows."""
        names = self.engines if self.rows is None else self.rows
        return {name: section for name in names if (section := self.engines[name]) is not None}

    def known_engines(self) -> dict[str, dict[str, Any]]:
        """Those of them that there are; those that are not are said in a line each."""
        found = {}
        for name, section in self.chosen.items():
            engine = section.get("name", BACKENDS[0])
            if engine in BACKENDS:
                found[name] = section
            else:
                logger.warning("%s is left out: no simulator %r here, only %s", name, engine, ", ".join(BACKENDS))
        require(bool(found), "rows", [*self.chosen], f"engines with a name of {', '.join(BACKENDS)}")
        return found

    def evaluation(self, checkpoint: str, engine: dict[str, Any], column: Column) -> EvaluateSettings:
        """What is evaluated in a cell."""
        return EvaluateSettings(
            checkpoint=checkpoint,
            episodes=self.episodes,
            num_envs=self.num_envs,
            seed=self.seed,
            threads=self.threads,
            video=False,
            forces=(),
            magnitudes=(0.0,),
            task=self.task,
            robot=None if column.tuned is None else {"tuned": str(column.tuned)},
            backend=engine or None,
            randomization=self._randomization(),
            control={},
        )

    def _randomization(self) -> Section:
        """What was given, and robots as their columns say: none of their constants is drawn anew."""
        if self.randomization == {}:
            return self.randomization  # the whole section as it ships
        shipped = settings.shipped("randomization", "none")
        return {**{name: shipped[name] for name in OF_ROBOT}, **(self.randomization or {})}


@dataclass(frozen=True)
class Block:
    """A checkpoint's rows.

    Attributes:
        label: what they are called.
        checkpoint: the policy's.
        digest: of its file.
    """

    label: str
    checkpoint: Checkpoint
    digest: str


def main(config: Mapping[str, Any], run: RunFolder) -> None:
    """Run the cells that are not done, and write the table."""
    options = _from_anywhere(_read(config, run.overrides, run), run)
    logger.info("a killed run goes on with: %s", command("transfer", assign("resume", run.path)))
    transfer(options, run)


def check(config: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Refuse what cannot be measured, as far as that shows before it starts."""
    options = _read(config, overrides)
    _check(options, _blocks(options), options.known_engines())


def transfer(options: TransferSettings, run: RunFolder) -> list[Outcome]:
    """Run the cells into a run folder; those that are already in it are not run again. Return what they came to."""
    import torch

    torch.set_num_threads(1)  # small batches; the simulator has its own threads
    blocks, engines = _blocks(options), options.known_engines()
    _check(options, blocks, engines)
    kinds = [cells.NOMINAL, cells.HIDDEN, *([cells.TUNED] if options.tuned else [])]
    work, outcomes, left_out = _Work(len(blocks) * len(engines) * _count(options)), [], {}
    for needed in (kinds[:2], kinds[2:]):  # fits take minutes: what needs none comes first, and shows what can be run
        if needed == kinds[2:] and not outcomes:
            break
        table: list[tuple[Path, Cell]] = []
        for number, block in enumerate(blocks):
            found = _rows(options, block, engines, _columns(options, block, needed, run.path))
            table += [(cells.file_of(run.path, number, cell.place), cell) for cell in found]
        outcomes += work.run(table, left_out)
    if not outcomes:
        raise UserError(f"engines = {list(engines)}: none of them can run this: {'; '.join(left_out.values())}")
    labels, names = [block.label for block in blocks], list(engines)
    outcomes.sort(key=lambda each: (labels.index(each.place.block), names.index(each.place.engine)))
    report.write(outcomes, left_out, options.seed, run)
    return outcomes


def _count(options: TransferSettings) -> int:
    """Columns of the table."""
    return 1 + options.robots * (2 if options.tuned else 1)


def _rows(options: TransferSettings, block: Block, engines: Mapping[str, Any], columns: Sequence[Column]) -> list[Cell]:
    """The cells of a checkpoint, row by row."""
    return [
        Cell(
            Place(block.label, engine, column, as_trained=not section),
            options.evaluation(str(block.checkpoint.path), section, column),
            block.checkpoint,
            block.digest,
        )
        for engine, section in engines.items()
        for column in columns
    ]


class _Work:
    """Runs cells, and tells how far it is.

    Args:
        total: how many there are.
    """

    def __init__(self, total: int) -> None:
        self._total, self._number = total, 0
        self._spent = self._weight = 0.0

    def run(self, table: Sequence[tuple[Path, Cell]], left_out: dict[str, str]) -> list[Outcome]:
        """What cells came to; those that were done before are taken as they are.

        Args:
            table: each with its file.
            left_out: row -> why it cannot be run; takes those that are found out here.
        """
        known = [cell.known(path) for path, cell in table]
        done = len(known) - known.count(None)
        if done:
            logger.info("%d cells are done already", done)
        left = sum(cell.weight for before, (_, cell) in zip(known, table, strict=True) if before is None)
        outcomes = []
        for before, (path, cell) in zip(known, table, strict=True):
            self._number += 1
            outcome = before
            if before is None:
                left -= cell.weight
                outcome = self._run(path, cell, left, left_out)
            if outcome is not None:
                outcomes.append(outcome)
        return outcomes

    def _run(self, path: Path, cell: Cell, left: float, left_out: dict[str, str]) -> Outcome | None:
        if cell.place.row in left_out:
            return None
        logger.info("cell %d of %d: %s", self._number, self._total, cell.place)
        began = time.perf_counter()
        outcome = _run(path, cell, left_out)
        self._spent, self._weight = self._spent + time.perf_counter() - began, self._weight + cell.weight
        if outcome is not None:
            share, rest = outcome.success[0] / outcome.success[1], minutes(left * self._spent / self._weight)
            logger.info("success %.0f%%; %s left", 100 * share, rest)
        return outcome


def _run(path: Path, cell: Cell, left_out: dict[str, str]) -> Outcome | None:
    """Run a cell; an engine that cannot simulate it is left out from here on."""
    own = cell.checkpoint.config["backend"].get("name", BACKENDS[0])
    try:
        return cell.run(path)
    except (UserError, ImportError) as error:
        if cell.options.backend is None or cell.options.backend.get("name", own) == own:
            raise  # that is not the engine's fault
        left_out[cell.place.row] = one_line(error)
        logger.warning("%s is left out: %s", cell.place.row, one_line(error))
        return None


def _columns(options: TransferSettings, block: Block, kinds: Sequence[str], folder: Path) -> list[Column]:
    """The robots of some kinds that a checkpoint is tried on."""
    section = block.checkpoint.config["robot"]
    fits = None if options.fits is None else fits_folder(options.fits) / str(section["name"])
    robots = Robots(
        section, folder / FOLDER / str(section["name"]), options.spread, options.excite, options.autotune, fits
    )
    columns = [Column(cells.NOMINAL, cells.NOMINAL)] if cells.NOMINAL in kinds else []
    for kind, make in ((cells.HIDDEN, robots.hidden), (cells.TUNED, robots.tuned)):
        if kind in kinds:
            columns += [Column(f"{kind}_{seed}", kind, make(seed)) for seed in options.seeds]
    return columns


def _blocks(options: TransferSettings) -> list[Block]:
    """The checkpoints, each with a label of its own: the name of its run, and a number where several have it."""
    blocks: list[Block] = []
    for path in options.checkpoints:
        found = checkpoints.load(path)
        name = found.name or found.path.stem
        twins = sum(re.fullmatch(rf"{re.escape(name)}( \d+)?", block.label) is not None for block in blocks)
        blocks.append(Block(f"{name} {twins + 1}" if twins else name, found, cells.digest_of(found)))
    return blocks


def _check(options: TransferSettings, blocks: Sequence[Block], engines: Mapping[str, dict[str, Any]]) -> None:
    for block in blocks:
        for section in engines.values():
            evaluation = options.evaluation(str(block.checkpoint.path), section, Column(cells.NOMINAL, cells.NOMINAL))
            with checkpoints.blamed(block.checkpoint, "evaluated"):
                environment_of(block.checkpoint.config, evaluation).check()
    if options.fits is not None:
        fits_folder(options.fits)
    if options.tuned:
        cli.compose("excite", options.excite)
        cli.compose("autotune", options.autotune)


def _read(config: Mapping[str, Any], overrides: Sequence[str], run: RunFolder | None = None) -> TransferSettings:
    """What to measure; what a run that is gone on with has done is copied into the folder of a new one."""
    refuse_training_only(overrides)
    values = settings.plain(config)
    if values.get("resume") is not None:
        values = _resumed(values, overrides, run)
    if values.get("checkpoint") is None:
        raise UserError("checkpoint is missing: add checkpoint=<file or run folder>, or resume=<run folder>")
    return settings.build(TransferSettings, values)


def _resumed(values: Mapping[str, Any], overrides: Sequence[str], run: RunFolder | None) -> dict[str, Any]:
    path = Path(str(values["resume"])).expanduser()
    folder = find_run(path, CONFIG) or path
    beside = sorted(given(overrides) - {"resume", "threads"})
    if beside:
        raise UserError(f"{', '.join(beside)} cannot be given with resume={folder}, which goes on with its own config")
    if not (folder / CONFIG).is_file():
        raise UserError(f"resume = {str(folder)!r}: nothing to go on with: it has no {CONFIG}")
    with parsing(folder / CONFIG, "the config of a transfer"):
        old: Any = OmegaConf.to_container(OmegaConf.load(folder / CONFIG), resolve=True)
        if not isinstance(old, dict) or not {"checkpoint", "engines"} <= old.keys():
            raise UserError(f"{folder / CONFIG}: not the config of a transfer: it has no engines")
    known = {field.name for field in fields(TransferSettings)}
    own = {key: value for key, value in {**settings.shipped("", "transfer"), **old}.items() if key in known}
    if run is not None and folder.resolve() != run.path.resolve():
        for name in (cells.FOLDER, FOLDER):
            if (folder / name).is_dir():
                shutil.copytree(folder / name, run.path / name)
    return {**own, "resume": None, **({"threads": values["threads"]} if "threads" in given(overrides) else {})}


def _from_anywhere(options: TransferSettings, run: RunFolder) -> TransferSettings:
    """The options with absolute paths, which are stored too: to go on with from any folder."""
    paths = [str(checkpoints.load(path).path.absolute()) for path in options.checkpoints]
    fits = None if options.fits is None else str(fits_folder(options.fits))
    options = replace(options, checkpoint=paths, fits=fits)
    atomic_write(run.path / CONFIG, OmegaConf.to_yaml(OmegaConf.create(settings.to_dict(options))))
    return options
