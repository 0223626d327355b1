"""The loop of a training: clock, log, checkpoints, stop. A subclass makes the updates."""

import contextlib
import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import torch

from findna.data.ahead import ahead
from findna.errors import OutputError, TrainingError
from findna.io.files import writing
from findna.train.log import COLUMNS, Log
from findna.train.parallel import Team

Item = TypeVar("Item")


class Report(NamedTuple):
    """The state of a run, for a progress display.

    Args:
        done: Number of updates; number of embedded windows if the stage is "embed"; a window counts once per strand.
        total: Total number.
        row: The last line of the log; empty if the stage is "embed".
        stage: "train", "embed", or "embed both strands".
    """

    done: int
    total: int
    row: Mapping[str, float]
    stage: str = "train"


MIN_TICKS = 4
"""Steps after which the throughput is known well enough to fit a run to its time budget."""


class Clock:
    """The number of steps of the run, given or fitted to a time budget, and the time spent."""

    def __init__(self, total_steps: int, *, budget: float | None, spent: float) -> None:
        self.total_steps = total_steps if budget is None else max(total_steps, MIN_TICKS)
        self.budget = budget
        self._began = time.monotonic() - spent

    @property
    def seconds(self) -> float:
        """Time spent, with that of earlier runs that this one resumes."""
        return time.monotonic() - self._began

    def tick(self, step: int) -> None:
        """Count a step; with a budget, adjust the number of steps to it.

        The pace is the mean of the whole run, so a resume or a held-out report does not change the learning rate.
        """
        if self.budget is not None and step >= MIN_TICKS:
            self.total_steps = max(step, int(step * self.budget / self.seconds))


class Training(ABC, Generic[Item]):
    """A run: its state, and everything that happens around an update.

    Args:
        out: The run directory.
        state: State of the checkpoint to resume from; {} for a new run.
        total_steps: Updates to make.
        budget: Seconds in which to make them.
        should_stop: Called after every update.
        on_report: Called after every update.
        columns: Of log.csv.
        team: The processes of the run; None: only this one.

    Attributes:
        step: Updates made.
        n_bases: Bases seen.
        clock: The time spent, and the number of updates to make.
        is_done: Whether to end before the last update.
    """

    def __init__(
        self,
        out: Path,
        state: Mapping[str, Any],
        *,
        total_steps: int,
        budget: float | None = None,
        should_stop: Callable[[], bool],
        on_report: Callable[[Report], None],
        columns: Sequence[str] = COLUMNS,
        team: Team | None = None,
    ) -> None:
        self.out = out
        self.clock = Clock(total_steps, budget=budget, spent=state.get("seconds", 0.0))
        self.step: int = state.get("step", 0)
        self.n_bases: int = state.get("n_bases", 0)
        self.should_stop, self.on_report = should_stop, on_report
        self.columns, self.team = columns, team or Team()
        self.is_done = False

    @abstractmethod
    def learn(self, item: Item, progress: float) -> tuple[int, int, dict[str, float]]:
        """Make one update; returns (epoch, bases, figures). `progress` is the fraction of the run at its middle."""

    @abstractmethod
    def measure(self, epoch: int) -> dict[str, float]:
        """Figures of the validation split; {} if they are not due."""

    @abstractmethod
    def save(self, *, finished: bool) -> None:
        """Write a checkpoint."""

    def check(self) -> None:
        """Raise a TrainingError if the run should not continue; the log has the last row."""

    def open_log(self) -> Log | None:
        """The log, without rows that were written after the last checkpoint."""
        return Log(self.out, step=self.step, columns=self.columns) if self.team.is_main else None

    def run(self, items: Iterator[Item], log: Log | None, *, checkpoint_seconds: float) -> bool:
        """Make all updates, with one item each; False if the run was stopped. Closes the log.

        A checkpoint is written at intervals, at a stop and at the end. The log then has all earlier rows.
        """
        saved_at = began = time.monotonic()
        began_bases = self.n_bases
        stream = ahead(items)
        try:
            while self.step < self.clock.total_steps and not self.is_done:
                epoch, n_bases, figures = self.learn(next(stream), (self.step + 0.5) / self.clock.total_steps)
                self.step += 1
                self.n_bases += n_bases
                self.clock.tick(self.step)
                self.clock.total_steps, is_stopped = self.team.agree(self.clock.total_steps, self.should_stop())
                row = {
                    "step": self.step,
                    "epoch": epoch,
                    "n_bases": self.n_bases,
                    "seconds": self.clock.seconds,
                    "bases_per_second": (self.n_bases - began_bases) / (time.monotonic() - began),
                    **figures,
                    **self.measure(epoch),
                }
                if log is not None:
                    log.write(row)
                self.on_report(Report(self.step, self.clock.total_steps, row))
                self.check()
                if is_stopped or time.monotonic() - saved_at > checkpoint_seconds:
                    self._save(log, finished=False)
                    saved_at = time.monotonic()
                if is_stopped:
                    return False
            self._save(log, finished=True)
        finally:
            stream.close()  # type: ignore[attr-defined]
            if log is not None:
                log.close()
        return True

    def _save(self, log: Log | None, *, finished: bool) -> None:
        if log is not None:
            log.flush()  # a resume keeps the rows up to its checkpoint
        self.save(finished=finished)


def open_folder(out: Path) -> None:
    """Make a run directory.

    Raises:
        OutputError: It holds a run already, or cannot be made.
    """
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for path in out.iterdir():
            if re.fullmatch(r"\.\w+\.json\.[\da-f-]+\.tmp", path.name):  # of a run that was killed before it began
                path.unlink()
        if any(out.iterdir()):
            raise OutputError(f"{out}: holds a run already; resume=True continues it, or choose another folder")


def check_finite(loss: float, grad_norm: float) -> None:
    """Raise a TrainingError if the loss of an update or its gradient is not finite."""
    if not (math.isfinite(loss) and math.isfinite(grad_norm)):
        raise TrainingError(
            f"diverged: the loss is {loss:.4g} and the gradient's norm {grad_norm:.4g}; "
            "lower learning_rate and start again"
        )


@contextlib.contextmanager
def enough_memory(device: torch.device, *, batch_size: int) -> Iterator[None]:
    """Turn a lack of memory into a TrainingError that says what to lower."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(f"out of memory on {device}; lower batch_size ({batch_size})") from error
