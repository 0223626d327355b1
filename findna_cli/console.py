"""Output of the commands: results on stdout, messages and progress on stderr; nothing else writes there."""

import itertools
import re
import sys
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from functools import partial
from shutil import get_terminal_size
from typing import TYPE_CHECKING, ClassVar, TextIO

from findna.commands.reports import write_report as write_report

if TYPE_CHECKING:
    from rich.table import Table

_BLANK = "\0"  # of a command, which is not broken: it must run if it is copied
_LEAST_WIDTH = 12  # of a column that is wrapped
_NUMBER = re.compile(r"(-?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?(e[+-]\d+)?( ?%)?|-?inf|nan|-)?")  # or an empty cell
_LOADING: list[str] = []  # the last line of the terminal


def visible(text: str) -> str:
    """A text without control characters: everything except printable characters, line ends and tabs is escaped.

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


def say_loading() -> None:
    """Say on stderr, in a line that the next output replaces, that something is loading."""
    _LOADING.append("loading ...\r")
    sys.stderr.write(_LOADING[-1])
    sys.stderr.flush()


def end_loading() -> None:
    """Erase the line of `say_loading`."""
    if _LOADING:
        _LOADING.clear()
        sys.stderr.write("\x1b[K")
        sys.stderr.flush()


def show(text: object, *, end: str = "\n") -> None:
    """A result as text to stdout."""
    end_loading()
    sys.stdout.write(f"{visible(str(text))}{end}")


def say(text: object, *, quiet: bool = False) -> None:
    """A line to stderr; on a terminal, long lines are broken between words, but not within a `command`."""
    if not quiet:
        end_loading()
        sys.stderr.write(f"{_filled(visible(str(text)), sys.stderr)}\n")


def show_page(text: str) -> None:
    """A page in Markdown to stdout; on a terminal, its headings and tables are drawn."""
    if sys.stdout.isatty():
        _draw(text)
    else:
        show(text.rstrip())


def _filled(text: str, stream: TextIO) -> str:
    if not stream.isatty():
        return text
    width = max(_LEAST_WIDTH, get_terminal_size().columns)
    wrap = partial(textwrap.wrap, width=width, break_long_words=False, break_on_hyphens=False)
    lines = []
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        whole = re.sub("`[^`]*`", lambda command: command[0].replace(" ", _BLANK), line.lstrip())
        lines += wrap(whole, initial_indent=indent, subsequent_indent=indent) if len(line) > width else [line]
    return "\n".join(lines).replace(_BLANK, " ")


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
    """Names and values to stdout, the values aligned; those that are empty or None are skipped."""
    facts = {name: value for name, value in facts.items() if value not in ("", None, (), [], {})}
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        for line in visible(str(value)).split("\n"):
            show_wrapped(f"{name:{width}}  ", line)
            name = ""


def show_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table to stdout, columns aligned, numbers to the right; a line end in a name makes the header taller.

    On a terminal that is too narrow, each row is shown as names and values.
    """
    names = [name.split("\n") for name in header]
    height = max(map(len, names))
    heads = list(zip(*([""] * (height - len(parts)) + parts for parts in names), strict=True))
    texts = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*heads, *texts, strict=True)]
    least = sum(width + 2 for width in widths[:-1]) + min(widths[-1], _LEAST_WIDTH)
    if sys.stdout.isatty() and least > get_terminal_size().columns:
        for row in texts:
            show_facts(dict(zip((name.replace("\n", " ") for name in header), row, strict=True)))
            show("")
        return
    columns = [[row[k] for row in texts] for k in range(len(header))]
    is_number = [any(column) and all(map(_NUMBER.fullmatch, column)) for column in columns]
    for line in [*heads, *texts]:
        *cells, last = [
            cell.rjust(w) if right else cell.ljust(w) for cell, w, right in zip(line, widths, is_number, strict=True)
        ]
        show_wrapped("".join(f"{cell}  " for cell in cells), last.rstrip())


def show_rows(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table to stdout: aligned on a terminal, tab-separated in a pipe or file."""
    if sys.stdout.isatty():
        show_table([name.replace("_", "\n") for name in header], rows)
        return
    for row in (header, *rows):
        show("\t".join(map(str, row)))


def columns_that_fit(rows: Sequence[Sequence[object]]) -> int:
    """How many columns of a table fit in the terminal's width, at least one."""
    ends = itertools.accumulate(2 + max(len(str(cell)) for cell in column) for column in zip(*rows, strict=True))
    return max(1, sum(end - 2 <= get_terminal_size().columns for end in ends))


def show_wrapped(first: str, text: str) -> None:
    """Show a text after its label; on a terminal, its lines begin below each other. A path or checksum stays whole."""
    columns = max(_LEAST_WIDTH, get_terminal_size().columns - len(first)) if sys.stdout.isatty() else len(text) + 1
    lines = textwrap.wrap(text, columns, break_long_words=False, break_on_hyphens=False) or [""]
    show(f"\n{'':{len(first)}}".join([f"{first}{lines[0]}".rstrip(), *lines[1:]]))


def _draw(text: str) -> None:
    """Draw Markdown on a terminal; rows of a table that is too wide for it are shown as names and values."""
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.markdown import Markdown, TableElement
    from rich.table import Table
    from rich.text import Text

    class Fitted(TableElement):
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            (table,) = super().__rich_console__(console, options)
            assert isinstance(table, Table)
            texts = [[str(column.header), *map(str, column.cells)] for column in table.columns]
            least = [max(map(len, " ".join(column).split()), default=0) for column in texts]
            for padding in ((0, 1), (0, 0)):
                table.padding = padding
                minimum = console.measure(table, options=options.update(max_width=10_000)).minimum
                if minimum <= options.max_width:
                    _set_widths(table, least, [max(map(len, column)) for column in texts], options.max_width - minimum)
                    yield table
                    return
            for row in zip(*(column.cells for column in table.columns), strict=True):
                facts = Table.grid(padding=(0, 2))
                for column, cell in zip(table.columns, row, strict=True):
                    if str(cell):
                        facts.add_row(Text(str(column.header)), Text(str(cell)))
                yield facts
                yield ""

    class Page(Markdown):
        elements: ClassVar = {**Markdown.elements, "table_open": Fitted}

    Console().print(Page(visible(text)))


def _set_widths(table: "Table", least: list[int], most: list[int], spare: int) -> None:
    """Give each column its longest word, and divide the spare width: the columns that wrap most get more of it."""
    while sum(most) > sum(least) + spare:
        most[max(range(len(most)), key=lambda k: most[k] - least[k])] -= 1
    for column, width in zip(table.columns, most, strict=True):
        column.width = width
