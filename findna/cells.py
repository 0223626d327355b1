"""Cells: records whose rows are computed, written and resumed together."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from findna.errors import InputError
from findna.io.compressed import STDIN
from findna.io.hdf5 import Writer
from findna.io.rows import Columns
from findna.record import Record

GRID = 128
"""Maximum number of records of a cell with batches of up to GRID x GRID bases; larger batches have proportionally more.

Batches never cross the end of a cell. Rows are written there, and a run can resume there.
"""

CELL_BATCHES = 4
"""A cell also ends at the record that fills this many batches. The ends of cells depend only on the records."""

CHUNK = 256
"""Variants per cell. They are scored together; a window that occurs twice is computed once."""

Item = Record | InputError


class Grid:
    """Where cells end, record by record.

    Args:
        batch_bases: Bases in a batch; 0: records are variants, and a cell has `CHUNK` of them.

    Attributes:
        most_records: Maximum number of records of a cell.
    """

    def __init__(self, batch_bases: int) -> None:
        self._most_bases = CELL_BATCHES * batch_bases or math.inf
        self.most_records = max(GRID, batch_bases // GRID) if batch_bases else CHUNK
        self._n_records = self._n_bases = 0

    def ends(self, n_bases: int) -> bool:
        """Add a record with this number of bases (0 if it has no row); whether the cell ends with it."""
        self._n_records += 1
        self._n_bases += n_bases
        is_end = self._n_records == self.most_records or self._n_bases >= self._most_bases
        if is_end:
            self._n_records = self._n_bases = 0
        return is_end


def whole_cells(items: Iterable[Item], batch_bases: int) -> Iterator[list[Item]]:
    """Yield the records and errors of each cell; `batch_bases` as in `Grid`."""
    grid = Grid(batch_bases)
    cell: list[Item] = []
    for item in items:
        cell.append(item)
        if grid.ends(count_item(item)):
            yield cell
            cell = []
    if cell:
        yield cell


def count_item(item: Item) -> int:
    """Number of bases of a record; 0 for an error."""
    return 0 if isinstance(item, InputError) else len(item.codes)


class Cell(NamedTuple):
    """Finished rows and skipped records of one cell, or the tokens of a batch in it.

    Tokens come batch by batch, before their rows, because the tokens of a long record may not fit in memory.

    Args:
        x: Values, shape (B, D), float32.
        obs: Columns of the rows, by name; empty without rows.
        cls: Class tokens, shape (B, K, C), if requested.
        skipped: Records without a row, in input order.
        tokens: Hidden states of the bases of later rows, shape (n, C), if requested.
        is_end: Whether the cell ends here; otherwise there are only tokens.
    """

    x: NDArray[np.float32]
    obs: Columns
    cls: NDArray[np.float32] | None
    skipped: list[InputError]
    tokens: NDArray[np.float16] | None = None
    is_end: bool = True


def write_rows(
    cells: Callable[[Iterable[Item]], Iterator[Cell]], items: Iterable[Item], writer: Writer, *, fatal: bool = True
) -> Iterator[int]:
    """Write the rows of records. After each cell, yield how many records of this call are written or skipped.

    Args:
        cells: A function from records to cells.
        items: All records of the input, in order; records that the writer already has are skipped.
        writer: An `EmbeddingWriter` or `TsvStream`.
        fatal: Whether an error in one record ends the run.

    Raises:
        InputError: A record's fault, unless `fatal` is False; one that always skips (`TooManyN`) never.
    """
    n_done = 0
    todo = itertools.islice(stop_at_fault(items, fatal=fatal), writer.n_records_done, None)
    for cell in cells(todo):
        if cell.tokens is not None:
            writer.write_tokens(cell.tokens)
        if not cell.is_end:
            continue
        if len(cell.x):
            writer.write(cell.x, cell.obs, cell.cls)
        for fault in cell.skipped:
            writer.skip(
                fault.record,
                row=fault.row,
                line=fault.line,
                source=STDIN if fault.path == "stdin" else str(fault.path or ""),
                reason=fault.reason,
            )
        writer.commit()
        n_done += len(cell.x) + len(cell.skipped)
        yield n_done


def stop_at_fault(items: Iterable[Item], *, fatal: bool) -> Iterator[Item]:
    """Yield the items up to the first that ends a run.

    Raises:
        InputError: A record's fault, if `fatal`; one that always skips (`TooManyN`) never.
    """
    for item in items:
        if fatal and isinstance(item, InputError) and item.is_fatal:
            can_count = item.path is not None and Path(item.path).is_file()
            hint = "; dry_run=True counts all such records, on_error=skip omits them"
            if not can_count:
                hint = "; on_error=skip omits such records"
            raise type(item)(f"{item.reason}{hint}", path=item.path, line=item.line, record=item.record, row=item.row)
        yield item
