"""Progress on a terminal: the phase, then the number done, a bar, the rate and the time left."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING, Any, Protocol

from findna.phases import Estimate, listening
from findna_cli.console import end_loading, say_loading

if TYPE_CHECKING:
    from rich.progress import Progress


class Advance(Protocol):
    """Updates the progress display."""

    def __call__(
        self, done: float, text: str = "", total: float | None = None, *, phase: str = "", unit: str = ""
    ) -> None: ...


class Loading(MetaPathFinder):
    """Says on a terminal that something is loading when torch, which takes seconds, is first imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Find nothing; the next finder imports the module."""
        if name == "torch":
            sys.meta_path.remove(self)
            say_loading()


@contextmanager
def progress(title: str, *, total: float | None, quiet: bool, unit: str = "records") -> Iterator[Advance]:
    """A progress display on a terminal; nothing where stderr is a file or `quiet`.

    It shows the phase until the first unit is done, then the number done, the rate and the time left.

    Args:
        title: The work, such as "embedding".
        total: Number of units; None if not known from the start.
        quiet: Show nothing.
        unit: Name of a unit; "bytes" are shown as MB.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda done, text="", total=None, phase="", unit="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
    from rich.table import Column

    end_loading()
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis"), markup=False),
        BarColumn(bar_width=max(6, min(30, (console.width - 60) // 2))),
        TextColumn("{task.fields[state]}", table_column=Column(no_wrap=True), markup=False),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        display = _Display(bar, title, total, unit)
        with listening(display.enter):
            yield display


class _Display:
    """One bar, which is an `Advance`."""

    def __init__(self, bar: "Progress", title: str, total: float | None, unit: str) -> None:
        self._bar, self._title, self._unit = bar, title, unit
        self._done, self._total, self._most = 0.0, total, 0.0
        self._task = bar.add_task("starting", total=total, state="")
        bar.refresh()
        self._begun: dict[str, tuple[float, float]] = {}  # start of a phase, and units done before (in a resumed run)

    def __call__(
        self, done: float, text: str = "", total: float | None = None, *, phase: str = "", unit: str = ""
    ) -> None:
        self._done, self._total = done, total or self._total
        self._show(phase or self._title, done, self._total, text, unit or self._unit)

    def enter(self, phase: str, done: float, n_steps: int | None) -> None:
        """Show a phase; once units are counted, the progress of the next one, unless this has several phases."""
        is_begun = self._title in self._begun
        if is_begun and self._unit == "runs":
            steps = f" {done:,.0f} of {n_steps:,}" if n_steps else ""
            self._show(self._title, self._done, self._total, unit=self._unit, shown=f"{phase}{steps}")
        elif n_steps and phase == self._title:
            self._show(phase, done, n_steps, unit=self._unit)
        elif n_steps and is_begun:
            self._show(self._title, self._done + done / n_steps, self._total, unit=self._unit)
        elif n_steps:
            self._show(phase, done, n_steps)
        elif is_begun:
            state = progress_text(self._done, self._total, 0, self._unit)
            self._bar.update(self._task, description=phase, state=state)
        else:
            self._begun.clear()  # a phase that comes again is timed anew
            self._bar.update(self._task, description=phase, completed=0, state="")

    def _show(
        self, phase: str, done: float, total: float | None, text: str = "", unit: str = "", shown: str = ""
    ) -> None:
        if phase == self._title:  # rows are computed in groups, and counted again when they are written
            done = self._most = max(done, self._most)
        since, n_before = self._begun.setdefault(phase, (time.monotonic(), done))
        rate = (done - n_before) / max(time.monotonic() - since, 1e-3)
        state = "  ".join(part for part in (progress_text(done, total, rate, unit), text) if part)
        self._bar.update(self._task, description=shown or phase, completed=done, total=total, state=state)


def progress_text(done: float, total: float | None, rate: float, unit: str) -> str:
    """The progress of a run in words.

    >>> progress_text(300, 1676, 20.0, "records")
    '300 of 1,676 records  20/s  1:09 left'
    >>> progress_text(300, Estimate(1680), 20.0, "records")
    '300 of ~1,680 records  20/s  1:09 left'
    >>> progress_text(3, 64, 0.025, "runs")
    '3 of 64 runs  1.5/min  40:40 left'
    >>> progress_text(3e6, None, 1.5e6, "bytes")
    '3.0 MB  1.5 MB/s'
    >>> progress_text(0, 1, 0, "records")
    '0 of 1 record'
    """
    scale, digits = (1e6, 1) if unit == "bytes" else (1.0, 0)
    name = "MB" if unit == "bytes" else unit.removesuffix("s") if (total or done) == 1 else unit
    of = f" of {'~' * isinstance(total, Estimate)}{total / scale:,.{digits}f}" if total else ""
    parts = [f"{done / scale if digits else int(done):,.{digits}f}{of} {name}".rstrip()]
    if rate > 0:
        speed, per = (rate / scale, "s") if rate >= 1 else (60 * rate, "min") if rate >= 1 / 60 else (3600 * rate, "h")
        parts.append(f"{speed:,.{1 if speed < 10 else 0}f}{' MB' if unit == 'bytes' else ''}/{per}")
        if total:
            parts.append(f"{clock((total - done) / rate)} left")
    return "  ".join(parts)


def clock(seconds: float) -> str:
    """A duration as hours, minutes and seconds.

    >>> clock(68), clock(7325), clock(90000)
    ('1:08', '2:02:05', '1 d 1 h')
    """
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
