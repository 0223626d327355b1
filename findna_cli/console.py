"""What a person sees of a command: results on stdout, messages and progress on stderr; nothing else writes there."""

import json
import sys
import time
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from findna.io.files import write_atomic


class Advance(Protocol):
    """Tells the progress display how far the work is."""

    def __call__(self, done: float, text: str = "") -> None: ...


def visible(text: str) -> str:
    """A text without anything that a terminal would obey: all but letters, line ends and tabs becomes its escape.

    Names, ids, labels and cards come from files. An escape sequence in one could hide or forge what is on the screen.

    >>> visible("\\x1b[2Jmodel"), visible("caf\u00e9")
    ('\\\\x1b[2Jmodel', 'caf\u00e9')
    """
    if text.isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(letter: str) -> str:
    if letter.isprintable() or letter in "\n\t" or unicodedata.category(letter) == "Zs":
        return letter
    return letter.encode("unicode_escape").decode()


def show(text: object, *, end: str = "\n") -> None:
    """A result as text to stdout."""
    sys.stdout.write(f"{visible(str(text))}{end}")


def say(text: object, *, quiet: bool = False) -> None:
    """A line to stderr."""
    if not quiet:
        sys.stderr.write(f"{visible(str(text))}\n")


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
