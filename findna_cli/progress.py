"""Progress: the phase, then the number done, the rate and the time left; a bar on a terminal, rare lines elsewhere."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.abc import MetaPathFinder
from typing import Any, Protocol

from findna.phases import Estimate, listening
from findna_cli.console import end_loading, say, say_loading

_FIRST, _SHORTEST, _LONGEST = 30, 60, 600
"""Seconds until the first line of a log, and the shortest and the longest time between two lines."""
_STEP = 0.1
"""Part of the work after which a log has another line."""


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


class Draw(Protocol):
    """Shows a phase, its units done, their total, and this in words."""

    def __call__(self, *, description: str, state: str, completed: float, total: float | None) -> None: ...


@contextmanager
def progress(title: str, *, total: float | None, quiet: bool, unit: str = "records") -> Iterator[Advance]:
    """A progress display: a bar on a terminal, else lines (see `Lines`); nothing if `quiet`.

    It shows the phase until the first unit is done, then the number done, the rate and the time left.

    Args:
        title: The work, such as "embedding".
        total: Number of units; None if not known from the start.
        quiet: Show nothing.
        unit: Name of a unit; "bytes" are shown as MB.
    """
    if quiet:
        yield lambda done, text="", total=None, phase="", unit="": None
        return
    with _bar() if sys.stderr.isatty() else _lines() as draw:
        display = _Display(draw, title, total, unit)
        with listening(display.enter):
            yield display


@contextmanager
def _bar() -> Iterator[Draw]:
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
        task = bar.add_task("starting", total=None, state="")
        bar.refresh()
        yield partial(bar.update, task)


@contextmanager
def _lines() -> Iterator[Draw]:
    """Lines on stderr, written by a thread, because a phase may take long without a step."""
    log, is_over = Lines(time.monotonic()), threading.Event()

    def write() -> None:
        while not is_over.wait(_FIRST / 30):
            if line := log.line(time.monotonic()):
                say(line)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield log
    finally:
        is_over.set()
        thread.join()


class Lines:
    """Progress as lines for the log of a job, which is a `Draw`: the first after 30 s, then a line at each tenth.

    There is at least a minute between two lines, and at most ten minutes.

    Args:
        now: The time of the start, in seconds.
    """

    def __init__(self, now: float) -> None:
        self._due, self._late = now + _FIRST, now + _FIRST
        self._shown, self._written = ("", "", 0.0), ("", "", 0.0)

    def __call__(self, *, description: str, state: str, completed: float, total: float | None) -> None:
        """Note what is to be shown."""
        self._shown = description, state, completed / total if total else 0.0

    def line(self, now: float) -> str:
        """The next line if it is due, else ""."""
        phase, state, share = shown = self._shown
        is_further = phase != self._written[0] or share >= self._written[2] + _STEP
        if not phase or now < (self._due if is_further else self._late):
            return ""
        self._due, self._late, self._written = now + _SHORTEST, now + _LONGEST, shown
        return f"{phase}: {state}" if state else phase


class _Display:
    """The state of a display, which is an `Advance`."""

    def __init__(self, draw: Draw, title: str, total: float | None, unit: str) -> None:
        self._draw, self._title, self._unit = draw, title, unit
        self._done, self._total, self._most = 0.0, total, 0.0
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
            self._draw(description=phase, completed=self._done, total=self._total, state=state)
        else:
            self._begun.clear()  # a phase that comes again is timed anew
            self._draw(description=phase, completed=0, total=None, state="")

    def _show(
        self, phase: str, done: float, total: float | None, text: str = "", unit: str = "", shown: str = ""
    ) -> None:
        if phase == self._title:  # rows are computed in groups, and counted again when they are written
            done = self._most = max(done, self._most)
        since, n_before = self._begun.setdefault(phase, (time.monotonic(), done))
        rate = (done - n_before) / max(time.monotonic() - since, 1e-3)
        state = "  ".join(part for part in (progress_text(done, total, rate, unit), text) if part)
        self._draw(description=shown or phase, completed=done, total=total, state=state)


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
