"""Tables with a header, comma- or tab-separated: their rows, columns and sequences."""

import csv
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from findna.counts import counted
from findna.errors import FindnaWarning, TableError
from findna.io.compressed import ByteStream
from findna.io.ids import IdSet
from findna.io.rows import printable
from findna.io.sniff import NO_HEADER, SEMICOLONS, SEQUENCE_COLUMNS
from findna.record import Record
from findna.sequence import Codes, encode, looks_like_bases, protein_hint

ID_COLUMNS = ("id", "name")
"""Default column names, in any case; the first that exists is used."""

_MIN_PROTEIN = 10


def read_sequence_table(
    stream: ByteStream, column: str = "", own_ids: str = "", *, ids: IdSet
) -> Iterator[Record | TableError]:
    """Yield the sequence of each row as a record; without a column of ids, its id is the line number.

    Args:
        stream: A CSV or TSV with a header.
        column: Name of the column with the sequence; "": one of `SEQUENCE_COLUMNS`.
        own_ids: Name of the column with the ids; "": one of `ID_COLUMNS`.
        ids: Ids of earlier records; a duplicate is an error of its row.

    Raises:
        TableError: The table is damaged, or has no such column.
    """
    stream.error = TableError
    with stream:
        lines = (raw.decode(errors="backslashreplace") for raw in stream.lines())
        numbered = table_rows(stream, lines)
        line, header = next(numbered, (1, []))
        columns = [name.strip() for name in header]
        sequence = find_column(stream, columns, (column,) if column else SEQUENCE_COLUMNS, line=line)
        if sequence is None:
            if any(map(looks_like_bases, columns)):
                several = "no header: this line holds a sequence; add one such as id,sequence"
                stream.fail(several if len(columns) > 1 else NO_HEADER, line=line)
            wanted = repr(column) if column else " or ".join(SEQUENCE_COLUMNS)
            stream.fail(
                f"no column {wanted}; there are {', '.join(columns)}; choose another with sequence_column=NAME",
                line=line,
            )
        id_column = _id_column(stream, columns, own_ids, line=line, unread=columns[:sequence] + columns[sequence + 1 :])
        for row, (line, cells) in enumerate(numbered):
            id = ""
            try:
                if len(cells) != len(columns):
                    raise ValueError(ragged(cells, columns))
                id = cells[id_column].strip() if id_column is not None else ""
                if printable(id) != id:
                    raise ValueError(f"the id {id!r} contains a tab or a line-end character")
                codes, n_iupac = encode_cell(cells[sequence])
                if not ids.add(id := id or str(line)):
                    raise ValueError(f"duplicate id {id!r}; ids must be unique")
            except ValueError as problem:
                yield TableError(str(problem), path=stream.name, line=line, row=row)
                continue
            yield Record(id, codes, n_iupac, row, stream.source)


def _id_column(stream: ByteStream, columns: list[str], own_ids: str, *, line: int, unread: list[str]) -> int | None:
    """The index of the column with the ids; None, with a warning if columns are not read: the ids are line numbers."""
    found = find_column(stream, columns, (own_ids,) if own_ids else ID_COLUMNS, line=line)
    if found is None and own_ids:
        stream.fail(
            f"no column {own_ids!r}; there are {', '.join(columns)}; choose another with id_column=NAME", line=line
        )
    if found is None and unread:
        warnings.warn(
            f"{stream.name}: no column {' or '.join(ID_COLUMNS)}: the ids are line numbers; "
            f"columns not read: {', '.join(unread)}; id_column=NAME takes the ids from one",
            FindnaWarning,
            stacklevel=3,
        )
    return found


def table_rows(stream: ByteStream, lines: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells), the header first; blank lines are skipped.

    Raises:
        TableError: The columns are separated by semicolons or spaces, or the table is damaged.
    """
    head: list[str] = []
    for text in lines:
        head.append(text)
        if text.strip():
            break
    first = head[-1] if head else ""
    delimiter = "\t" if "\t" in first else ","
    if delimiter not in first and (";" in first or " " in first.strip()):
        reason = SEMICOLONS if ";" in first else SEMICOLONS.replace("semicolons", "spaces")
        stream.fail(reason, line=len(head))
    csv.field_size_limit(2**31 - 1)  # otherwise csv refuses a sequence of 131,072 bases
    reader = csv.reader((f"{line}\n" for line in chain(head, lines)), delimiter=delimiter)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as problem:
        stream.fail(f"damaged: {problem}", line=reader.line_num)


def find_column(stream: ByteStream, columns: Sequence[str], names: Iterable[str], *, line: int) -> int | None:
    """Index of the first of these names that the table has: exactly, else in another case.

    Raises:
        TableError: Several columns have that name.
    """
    lower = [column.lower() for column in columns]
    for name in names:
        found = [k for k, column in enumerate(columns) if column == name]
        found = found or [k for k, column in enumerate(lower) if column == name.lower()]
        if len(found) > 1:
            stream.fail(f"{len(found)} columns are named {columns[found[0]]!r}: rename all but one", line=line)
        if found:
            return found[0]
    return None


def ragged(cells: list[str], columns: list[str]) -> str:
    """The error of a row whose number of cells differs from the header."""
    other = ";" if len(cells) > 1 else next((mark for mark in "\t,;" if mark in cells[0]), "")
    mixed = len(cells) == 1 and other and len(cells[0].split(other)) == len(columns)
    name = {"\t": "tabs", ",": "commas", ";": "semicolons"}.get(other, "")
    hint = f": this row is separated by {name}, the header is not" if mixed else ""
    return f"{counted(len(cells), 'column')} where the header has {len(columns)}{hint}"


def encode_cell(text: str) -> tuple[Codes, int]:
    """The codes of a cell, and the number of IUPAC codes that became N.

    Raises:
        ValueError: It is empty or not DNA.
    """
    bases = text.strip()
    if not bases:
        raise ValueError("the sequence is empty")
    try:
        codes, n_iupac = encode(bases)
    except ValueError as problem:
        raise ValueError(protein_hint(problem)) from problem
    n_unknown = n_iupac - bases.count("X") - bases.count("x")
    if len(codes) >= _MIN_PROTEIN and 2 * n_unknown > len(codes):
        raise ValueError("most letters are neither A, C, G, T nor N (is it protein?)")
    return codes, n_iupac
