"""What a person sees of a command: results on stdout, messages and progress on stderr; nothing else writes there."""

import json
import sys
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from findna.io.files import write_atomic


class Advance(Protocol):
    """Tells the progress display how far the work is."""

    def __call__(self, done: float, text: str = "", total: float | None = None) -> None: ...


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
def progress(title: str, *, total: float | None, quiet: bool, unit: str = "records") -> Iterator[Advance]:
    """A progress display on a terminal; nothing where stderr is a file or `quiet`.

    It shows the phase until the first unit is done, then the number done, the rate and the time left.

    Args:
        title: What is done, such as "embed".
        total: How many units there are, if that is known from the start.
        quiet: Show nothing.
        unit: What is counted; "bytes" are shown as MB.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda done, text="", total=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    from findna.phases import listening

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis"), markup=False),
        BarColumn(bar_width=max(6, min(30, (console.width - 60) // 2))),
        TextColumn("{task.fields[state]}", table_column=Column(no_wrap=True), markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns[: 4 + (console.width >= 72)], console=console, transient=True) as bar:
        task = bar.add_task("starting", total=total, state="")
        started = [time.monotonic(), 0.0]  # when the first unit was done, and how many of them were (a resumed run)

        def advance(done: float, text: str = "", total: float | None = total) -> None:
            if bar.tasks[0].description != title:
                started[:] = time.monotonic(), done
            rate = (done - started[1]) / max(time.monotonic() - started[0], 1e-3)
            state = "  ".join(part for part in (progress_text(done, total, rate, unit), text) if part)
            bar.update(task, description=title, completed=done, total=total, state=state)

        with listening(lambda phase: bar.update(task, description=phase, total=None, state="")):
            yield advance


def progress_text(done: float, total: float | None, rate: float, unit: str) -> str:
    """How far a run is.

    >>> progress_text(300, 1676, 20.0, "records")
    '300 of 1,676 records  20/s  1:09 left'
    >>> progress_text(3e6, None, 1.5e6, "bytes")
    '3.0 MB  1.5 MB/s'
    """
    scale, digits = (1e6, 1) if unit == "bytes" else (1.0, 0)
    name = "MB" if unit == "bytes" else unit
    of = f" of {total / scale:,.{digits}f}" if total else ""
    parts = [f"{done / scale:,.{digits}f}{of} {name}"]
    if rate > 0:
        speed = rate / scale
        parts.append(f"{speed:,.{1 if speed < 10 else 0}f}{' MB' if unit == 'bytes' else ''}/s")
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


def duration(seconds: float) -> str:
    """A duration in words.

    >>> duration(0.25), duration(42), duration(750), duration(9000)
    ('0.2 s', '42 s', '12 min 30 s', '2 h 30 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60) if seconds >= 3600 else int(seconds // 60)
    if seconds >= 3600:
        return f"{minutes // 60:,} h {minutes % 60} min"
    return f"{minutes} min {round(seconds % 60)} s"


def size(n_bytes: float) -> str:
    """A number of bytes in words.

    >>> size(950), size(71_200_000), size(3.2e9)
    ('950 bytes', '71 MB', '3.2 GB')
    """
    if n_bytes < 1000:
        return f"{n_bytes:.0f} bytes"
    for unit in ("kB", "MB", "GB", "TB"):
        n_bytes /= 1000
        if n_bytes < 1000 or unit == "TB":
            break
    return f"{n_bytes:.1f} {unit}" if n_bytes < 10 else f"{n_bytes:.0f} {unit}"


def show_facts(facts: Mapping[str, object]) -> None:
    """Names and values to stdout, the values aligned; those that are "" or None are skipped."""
    facts = {name: value for name, value in facts.items() if value not in ("", None)}
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        first, *others = visible(str(value)).split("\n")
        show("\n".join([f"{name:{width}}  {first}", *(f"{'':{width}}  {line}" for line in others)]))


def show_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table to stdout, columns aligned, numbers to the right."""
    texts = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *texts, strict=True)]
    is_number = [all(isinstance(row[k], int | float) for row in rows) for k in range(len(header))]
    for line in [list(header), *texts]:
        cells = [
            cell.rjust(w) if right else cell.ljust(w) for cell, w, right in zip(line, widths, is_number, strict=True)
        ]
        show("  ".join(cells).rstrip())


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
