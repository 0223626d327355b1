"""Rows of labelled files: sequence, label as text, line. All errors of a file are reported together."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from findna.counts import counted
from findna.errors import MOST_SHOWN, InputError, TableError, as_one
from findna.io.check import refuse_pipe
from findna.io.compressed import ByteStream
from findna.io.options import InputOptions
from findna.io.records import read_records
from findna.io.sequence_table import ID_COLUMNS, encode_cell, find_column, ragged, table_rows
from findna.io.sniff import SEQUENCE_COLUMNS
from findna.sequence import Codes, looks_like_bases

LABEL_COLUMNS = ("label", "labels", "class", "target")
"""Default column names, in any case; the first that exists is used."""

_SHAPES = (".fa", ".fasta", ".fna", ".bed", ".narrowpeak")


class LabelledRow(NamedTuple):
    """A sequence with its label as text; in FASTA and BED files, the line is the record number."""

    codes: Codes
    label: str
    id: str
    line: int
    path: str


def _bare(path: str) -> str:
    """A file name without folder and extensions.

    >>> _bare("data/pos.fa.gz")
    'pos'
    """
    name = Path(path).name
    for ending in (".gz", ".bgz"):
        name = name.removesuffix(ending)
    return Path(name).stem or name


def holds_records(path: str) -> bool:
    """Whether a file is FASTA, FASTQ or BED rather than a table.

    Raises:
        InputError: It is a pipe, it is empty, or its gzip stream is truncated or damaged.
    """
    refuse_pipe(path)
    with ByteStream(path, error=TableError) as stream:
        head = stream.head.lstrip()
        if not head:
            for _ in stream.chunks():  # damaged and truncated files raise their own error
                pass
            stream.fail("the file is empty")
        name = path.lower().removesuffix(".gz").removesuffix(".bgz")
        return head[:1] in (b">", b"@") or name.endswith(_SHAPES)


def read_class(path: str, genome: str | Path | None = None) -> list[LabelledRow]:
    """The records of a FASTA or BED file; their label is the file name without extensions.

    Raises:
        InputError: Records of it cannot be used.
    """
    label = _bare(path)
    rows, faults = [], []
    for item in read_records([path], InputOptions(genome=genome)):
        if isinstance(item, InputError):
            faults.append(item)
        else:
            rows.append(LabelledRow(item.codes, label, item.id, item.row + 1, path))
    if faults:
        n = len(faults)
        raise as_one(faults, n, f"{n:,} of {counted(n + len(rows), 'record')} cannot be used")
    return rows


def read_sequences(path: str | Path, *, genome: str | Path | None = None) -> list[Codes]:
    """The sequences of a table (labels are ignored) or of a FASTA or BED file; all errors are reported together.

    Raises:
        InputError: A file is invalid; see `read_labelled`.
    """
    name = str(path)
    rows = read_class(name, genome) if holds_records(name) else read_table(name, label_column=None)
    return [row.codes for row in rows]


def read_table(path: str, sequence_column: str = "", label_column: str | None = "") -> list[LabelledRow]:
    """The rows of a table; all errors are reported together. Without a label column, labels are "".

    Raises:
        TableError: It is damaged, has no such columns, or rows of it cannot be used.
    """
    with ByteStream(path, error=TableError) as stream:
        lines = (raw.decode(errors="backslashreplace") for raw in stream.lines())
        numbered = table_rows(stream, lines)
        line, header = next(numbered, (1, []))
        if not header:
            stream.fail("no header: every cell is empty")
        columns = [name.strip() for name in header]
        sequence, label = _find_columns(stream, columns, line, sequence_column, label_column)
        id_column = find_column(stream, columns, ID_COLUMNS, line=line)
        rows: list[LabelledRow] = []
        problems = Problems(path)
        for line, cells in numbered:
            if len(cells) != len(columns):
                problems.add(line, ragged(cells, columns))
                continue
            try:
                codes, _ = encode_cell(cells[sequence])
            except ValueError as problem:
                problems.add(line, f"column {columns[sequence]}: {problem}")
                continue
            id = cells[id_column].strip() if id_column is not None else ""
            text = cells[label].strip() if label is not None else ""
            rows.append(LabelledRow(codes, text, id or str(line), line, path))
        problems.raise_if_any(len(rows) + problems.n)
        if not rows:
            stream.fail("a header and no rows")
    return rows


class Problems:
    """Counts the errors of a table and keeps the first ten."""

    def __init__(self, path: str) -> None:
        self.path, self.n = path, 0
        self._first: list[TableError] = []

    def add(self, line: int, reason: str) -> None:
        """Count the error of a 1-based line."""
        self.n += 1
        if len(self._first) < MOST_SHOWN:
            self._first.append(TableError(reason, path=self.path, line=line))

    def raise_if_any(self, n_rows: int) -> None:
        """Raise if there was an error.

        Raises:
            TableError: There was one; the message has the count, of `n_rows`, and the first errors.
        """
        if self.n:
            raise as_one(self._first, self.n, f"{self.n:,} of {counted(n_rows, 'row')} cannot be used")


def _find_columns(
    stream: ByteStream, columns: list[str], line: int, sequence_column: str, label_column: str | None
) -> tuple[int, int | None]:
    def place(wanted: str, known: Iterable[str], setting: str) -> int:
        index = find_column(stream, columns, (wanted,) if wanted else known, line=line)
        if index is None:
            if any(map(looks_like_bases, columns)):
                stream.fail("no header: this line holds a sequence; add one such as sequence,label", line=line)
            what = repr(wanted) if wanted else " or ".join(known)
            stream.fail(f"no column {what}; there are {', '.join(columns)}; {setting}=NAME names another", line=line)
        return index

    sequence = place(sequence_column, SEQUENCE_COLUMNS, "sequence_column")
    label = None if label_column is None else place(label_column, LABEL_COLUMNS, "label_column")
    if sequence == label:
        stream.fail(f"column {columns[sequence]} cannot be both sequence and label", line=line)
    return sequence, label
