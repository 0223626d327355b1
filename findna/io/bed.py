"""BED rows as regions: BED3 to BED12 and narrowPeak, line by line."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from findna.counts import counted
from findna.errors import BedError, InputError
from findna.io.compressed import ByteStream, Mark
from findna.io.remedies import reordered, swapped
from findna.region import Region

STRANDS = ("+", "-", ".")
_HEADER_WORDS = ("track", "browser")
_MOST_DIGITS = 18


class BedRow(NamedTuple):
    """One row and its place.

    Args:
        row: 0-based index among the rows, without headers and comments.
        line: 1-based line of the file.
        region: The region, or its error.
    """

    row: int
    line: int
    region: Region | InputError


def read_bed(
    source: str | Path | ByteStream, *, is_narrowpeak: bool = False, with_blocks: bool = False
) -> Iterator[BedRow]:
    """Yield the rows of a BED file in file order, or the error of an invalid row.

    Columns are separated by tabs, or by spaces in a line without a tab. Comments (#), `track` and
    `browser` lines and blank lines are skipped.

    Args:
        source: Path (plain, gzip or BGZF), "-" for stdin, or an open stream.
        is_narrowpeak: Whether column 10 is the summit.
        with_blocks: Whether columns 10 to 12, if present, are BED12 blocks.

    Raises:
        BedError: The file is truncated or damaged.
    """
    stream = source if isinstance(source, ByteStream) else ByteStream(source, error=BedError)
    stream.error = BedError
    row = stream.begin.row
    with stream:
        for line, raw in stream.numbered():
            text = raw.decode(errors="backslashreplace").strip(" \r\v\f")
            if is_bed_header(text):
                continue
            region: Region | BedError
            try:
                region = _region(_columns(text), is_narrowpeak=is_narrowpeak, with_blocks=with_blocks)
            except ValueError as problem:
                hint = _remedy(text, stream.name)
                region = BedError(f"{problem}{hint}", path=stream.name, line=line, row=row)
            stream.mark = Mark(stream.offset, line - 1, row)
            yield BedRow(row, line, region)
            row += 1


def is_bed_header(text: str) -> bool:
    """Whether a line of a BED file is not a row: blank, comment, `track` or `browser`.

    >>> is_bed_header("track name=peaks"), is_bed_header("tracker 1 2")
    (True, False)
    """
    return not text.strip() or text[0] == "#" or text.split(None, 1)[0] in _HEADER_WORDS


def _remedy(line: str, name: str) -> str:
    """The command that corrects columns in another order; "" if it is not known."""
    columns, is_tabbed = _columns(line), "\t" in line
    starts, ends = ([text.strip() for text in columns[place : place + 1]] for place in (1, 2))
    if starts and ends and starts[0].isdecimal() and ends[0].isdecimal() and int(starts[0]) > int(ends[0]):
        command = swapped(name, is_tabbed=is_tabbed)
        return f"; if they are swapped, {command} corrects it" if command else ""
    found = reordered(columns, name, is_tabbed=is_tabbed)
    return f"; {found}" if found else ""


def _columns(text: str) -> list[str]:
    return text.split("\t") if "\t" in text else text.split()


def _region(columns: list[str], *, is_narrowpeak: bool, with_blocks: bool) -> Region:
    n_needed = 10 if is_narrowpeak else 3
    if len(columns) < n_needed:
        what = "narrowPeak" if is_narrowpeak else "chrom, start and end"
        raise ValueError(f"{counted(len(columns), 'column')}, but {what} needs {n_needed}")
    chrom = columns[0].strip()
    if not chrom:
        raise ValueError("the contig name is empty")
    start, end = _position("start", columns[1]), _position("end", columns[2])
    if not 0 <= start < end:
        raise ValueError(f"start {start} and end {end} must satisfy 0 <= start < end")
    name = columns[3].strip() if len(columns) > 3 else ""
    strand = columns[5].strip() if len(columns) > 5 else "."
    _refuse_misplaced(columns)
    if strand not in STRANDS:
        raise ValueError(f"strand (column 6) is {strand!r}, not '+', '-' or '.'")
    region = Region(chrom, start, end, "" if name == "." else name, strand)
    if is_narrowpeak:
        return region._replace(summit=_summit(region, columns[9]))
    if with_blocks and len(columns) >= 12:
        return region._replace(blocks=_blocks(region, *columns[9:12]))
    return region


def _refuse_misplaced(columns: list[str]) -> None:
    """Raise if column 4 or 5 of a short row holds a strand, which would be lost.

    Raises:
        ValueError: It is so.
    """
    if len(columns) in (4, 5):
        if columns[3].strip() in ("+", "-"):
            hint = "add a name and a score before it; convert an interval_list with picard IntervalListToBed"
            raise ValueError(f"column 4 is a strand, which BED has in column 6: {hint}")
        if columns[-1].strip() in ("+", "-"):
            raise ValueError("column 5 is a strand, which BED has in column 6: add a score before it")


def _position(what: str, text: str) -> int:
    text = text.strip()
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        hint = " (a header line must begin with '#')" if text.isalpha() else ""
        if digits.replace(",", "").isdigit():
            hint = " (BED has no commas in numbers; remove them with tr -d ',')"
        raise ValueError(f"{what} {text!r} is not a whole number{hint}")
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"{what} {text} is too large")
    return int(text)


def _summit(region: Region, text: str) -> int:
    offset = _position("summit (column 10)", text)
    if offset == -1:
        return -1
    if not 0 <= offset < region.end - region.start:
        raise ValueError(f"summit (column 10) {offset} is outside the {region.end - region.start} bases")
    return region.start + offset


def _blocks(region: Region, count: str, sizes: str, starts: str) -> tuple[tuple[int, int], ...]:
    size_list = [_position("block size", text) for text in sizes.strip().rstrip(",").split(",")]
    start_list = [_position("block start", text) for text in starts.strip().rstrip(",").split(",")]
    n_blocks = _position("block count", count)
    if not n_blocks == len(size_list) == len(start_list):
        raise ValueError(f"{n_blocks} blocks, but {len(size_list)} sizes and {len(start_list)} starts")
    blocks = []
    last_end = region.start
    for offset, size in zip(start_list, size_list, strict=True):
        start, end = region.start + offset, region.start + offset + size
        if not last_end <= start < end <= region.end:
            raise ValueError(f"block at {offset} of {size} bases must follow the one before it and lie in the region")
        blocks.append((start, end))
        last_end = end
    return tuple(blocks)
