"""What a person sees while a command runs: messages and progress, all on stderr."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from findna.io.files import write_atomic


class Advance(Protocol):
    """Tells the progress display how far the work is."""

    def __call__(self, done: float, text: str = "") -> None: ...


def say(text: str, *, quiet: bool = False) -> None:
    """A line to stderr."""
    if not quiet:
        sys.stderr.write(f"{text}\n")


@contextmanager
def progress(title: str, *, total: float | None, quiet: bool) -> Iterator[Advance]:
    """A progress bar on a terminal; nothing where stderr is a file or `quiet`."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, text="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, text="")
        yield lambda done, text="": bar.update(task, completed=done, text=text)


def write_report(path: Path | None, report: Mapping[str, Any]) -> None:
    """Write the machine-readable report of `--json`, if it was asked for."""
    if path is not None:
        write_atomic(path, json.dumps(report, indent=2) + "\n")


class Every:
    """True at most once in a number of seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._last = seconds, time.monotonic()

    def __call__(self) -> bool:
        """Whether the time has passed since it was last True."""
        if time.monotonic() - self._last < self.seconds:
            return False
        self._last = time.monotonic()
        return True
