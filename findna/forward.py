"""Records through a network, in order: windows, packed batches, cells; what is read of the windows, joined a record."""

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from findna.data.ahead import ahead
from findna.data.batch import Batch, pack
from findna.data.windows import Window, count_windows, iter_windows
from findna.errors import FindnaWarning, InputError
from findna.io.compressed import STDIN
from findna.io.hdf5 import Writer
from findna.nn.device import Precision, put
from findna.nn.encoder import Encoder
from findna.nn.pooling import Pool
from findna.record import Record
from findna.sequence import Codes, N, reverse_complement

GRID = 128
"""Most records of a cell, of batches of its square of bases or less, and in proportion of larger ones.

Batches never cross the end of a cell, rows are written there, and a resume can begin there.
"""

CELL_BATCHES = 4
"""A cell ends, too, with the record that fills so many batches. Where cells end depends on the records alone."""

Spans = Sequence[tuple[int, int]]
Item = Record | InputError
One = TypeVar("One")


class Grid:
    """Where cells end, told record by record.

    Args:
        batch_bases: Bases in a batch.
    """

    def __init__(self, batch_bases: int) -> None:
        self._most_bases, self._most_records = CELL_BATCHES * batch_bases, max(GRID, batch_bases // GRID)
        self._n_records = self._n_bases = 0

    def ends(self, n_bases: int) -> bool:
        """Take in a record of so many bases, 0 for one that has no row: whether a cell ends with it."""
        self._n_records += 1
        self._n_bases += n_bases
        is_end = self._n_records == self._most_records or self._n_bases >= self._most_bases
        if is_end:
            self._n_records = self._n_bases = 0
        return is_end


def count_item(item: Item) -> int:
    """Bases of a record; 0 of a fault."""
    return 0 if isinstance(item, InputError) else len(item.codes)


class Cell(NamedTuple):
    """Finished rows and skipped records of one cell.

    Args:
        x: Values, shape (B, D), float32.
        obs: Their columns.
        cls: Class tokens, shape (B, K, C), where they were asked for.
        skipped: Records that have no row, in their order.
    """

    x: NDArray[np.float32]
    obs: list[dict[str, Any]]
    cls: NDArray[np.float32] | None
    skipped: list[InputError]


class Readout(NamedTuple):
    """What is read of the hidden states of a batch.

    Args:
        kinds: How the windows of a record are joined, a kind of `Pool` for each array that `read` gives.
        read: Of hidden states (positions, C), the rings and the own bases of each window as positions
            [start, end): tensors of one row a window, float32, on the same device.
    """

    kinds: Sequence[str]
    read: Callable[[Tensor, NDArray[np.int64], Spans], Sequence[Tensor]]


@dataclass
class Joined:
    """One record: its columns, and what was read of its windows so far, by strand and kind."""

    obs: dict[str, Any]
    pools: list[list[Pool]] = field(repr=False)

    def by_strand(self, kinds: Sequence[int] = (0,)) -> list[NDArray[np.float32]]:
        """The joined values of each strand, those of several kinds end to end."""
        return [np.concatenate([pools[kind].vector() for kind in kinds]) for pools in self.pools]


class _Piece(NamedTuple):
    slot: Joined
    strand: int
    window: Window
    codes: Codes


class _Work(NamedTuple):
    """A batch, or the end of a cell: all that has passed in it."""

    pieces: list[_Piece]
    batch: Batch | None
    done: list[Joined | InputError]


class Forward:
    """A network on its device, with what is to be read from it.

    Args:
        network: Stays as it is: a copy runs.
        readout: What is read.
        window: Longest piece of a record, in bases.
        stride: Bases between two windows.
        both_strands: Whether each record goes through on its reverse strand too.
        batch_bases: Bases in a batch.
        n_class_tokens: Class tokens appended to a window.
        blocks: After how many blocks to read, several side by side; (): after all.
        device: Where it runs.
        precision: Of the matrix products and the residual stream; what is read is float32.
    """

    def __init__(
        self,
        network: Encoder,
        readout: Readout,
        *,
        window: int,
        stride: int,
        both_strands: bool,
        batch_bases: int,
        n_class_tokens: int,
        blocks: Sequence[int] = (),
        device: torch.device,
        precision: Precision,
    ) -> None:
        self.network = network.for_inference(device=device, precision=precision)
        self.device, self.precision = device, precision
        self._readout, self._blocks = readout, blocks
        self._window, self._stride, self._both_strands = window, stride, both_strands
        self._batch_bases, self._n_class_tokens = batch_bases, n_class_tokens
        self._most_bases = batch_bases  # that fit in the device's memory, as far as is known

    def run(
        self, items: Iterable[Item], *, on_own: Callable[[list[Tensor]], None] | None = None
    ) -> Iterator[tuple[list[Joined], list[InputError]]]:
        """Yield the finished and the skipped records of a cell.

        Reading and packing run ahead in a thread, and a GPU has the next batch before the last one's values are taken.
        Memory is a few batches, however long a record is.

        Args:
            items: Records, and in their places the faults of those that are to be skipped.
            on_own: Takes the hidden states of every batch, those of each window's own bases.
        """
        with closing(ahead(self._works(items))) as works:  # type: ignore[type-var]
            launched = ((work, self._launch(work.pieces, work.batch, on_own)) for work in works)
            for work, values in one_behind(launched) if self.device.type == "cuda" else launched:
                if work.batch is not None:
                    for part in values:
                        part.take()
                    continue
                slots = [item for item in work.done if isinstance(item, Joined)]
                yield slots, [item for item in work.done if isinstance(item, InputError)]

    def _works(self, items: Iterable[Item]) -> Iterator[_Work]:
        stream = iter(items)
        for first in stream:
            done: list[Joined | InputError] = []
            pieces: list[_Piece] = []
            n_bases = 0
            for piece in self._pieces(self._cell(itertools.chain([first], stream)), done):
                if pieces and n_bases + len(piece.codes) > self._batch_bases:
                    yield self._packed(pieces)
                    pieces, n_bases = [], 0
                pieces.append(piece)
                n_bases += len(piece.codes)
            if pieces:
                yield self._packed(pieces)
            yield _Work([], None, done)

    def _packed(self, pieces: list[_Piece]) -> _Work:
        return _Work(pieces, self._pack(pieces), [])

    def _pack(self, pieces: list[_Piece]) -> Batch:
        return pack([piece.codes for piece in pieces], n_class_tokens=self._n_class_tokens)

    def _cell(self, items: Iterable[Item]) -> Iterator[Item]:
        grid = Grid(self._batch_bases)
        for item in items:
            yield item
            if grid.ends(count_item(item)):
                return

    def _pieces(self, items: Iterable[Item], done: list[Joined | InputError]) -> Iterator[_Piece]:
        for item in items:
            if isinstance(item, InputError):
                done.append(item)
                continue
            strands = [item.codes]
            if self._both_strands:
                strands.append(reverse_complement(item.codes))
            slot = Joined(self._obs(item), [[Pool(kind) for kind in self._readout.kinds] for _ in strands])
            done.append(slot)
            for strand, codes in enumerate(strands):
                for window in iter_windows(len(codes), size=self._window, stride=self._stride):
                    yield _Piece(slot, strand, window, codes[window.start : window.end])

    def _obs(self, record: Record) -> dict[str, Any]:
        n_bases = len(record.codes)
        return {
            "id": record.id,
            "name": record.name,
            "chrom": record.chrom,
            "start": record.start,
            "end": record.end,
            "strand": record.strand,
            "source": record.source,
            "row": record.row,
            "length": n_bases,
            "n_windows": count_windows(n_bases, size=self._window, stride=self._stride),
            "frac_n": np.count_nonzero(record.codes == N) / n_bases,
            "n_iupac": record.n_iupac,
            **record.extra,
        }

    def _launch(
        self, pieces: list[_Piece], batch: Batch | None, on_own: Callable[[list[Tensor]], None] | None
    ) -> "list[_Values]":
        """What is read of a batch, which a GPU may still compute: in halves where the device has too little memory.

        Raises:
            torch.OutOfMemoryError: A single window does not fit.
        """
        if batch is None:
            return []
        n_bases = sum(len(piece.codes) for piece in pieces)
        if n_bases <= self._most_bases or len(pieces) == 1:
            try:
                return [self._values(pieces, batch, on_own)]
            except torch.OutOfMemoryError:
                if len(pieces) == 1:
                    raise
            if self._most_bases == self._batch_bases:
                warnings.warn(
                    f"{self.device} has too little memory for batches of {self._batch_bases:,} bases; "
                    "batches are halved until they fit",
                    FindnaWarning,
                    stacklevel=2,
                )
            self._most_bases = n_bases // 2
        middle = len(pieces) // 2
        halves = pieces[:middle], pieces[middle:]
        return [values for half in halves for values in self._launch(half, self._pack(half), on_own)]

    @torch.inference_mode()
    def _values(self, pieces: list[_Piece], batch: Batch, on_own: Callable[[list[Tensor]], None] | None) -> "_Values":
        rings = batch.rings
        hidden = self.network(put(batch.codes, self.device), rings, blocks=self._blocks, precision=self.precision)
        own = [
            (start + piece.window.own_start - piece.window.start, start + len(piece.codes))
            for start, piece in zip(rings[:-1].tolist(), pieces, strict=True)
        ]
        tensors = [tensor.to("cpu", non_blocking=hidden.is_cuda) for tensor in self._readout.read(hidden, rings, own)]
        if on_own is not None:
            on_own([hidden[start:end] for start, end in own])
        event = torch.cuda.current_stream(self.device).record_event() if hidden.is_cuda else None
        return _Values(pieces, tensors, event)


class _Values(NamedTuple):
    """What was read of a batch's windows, on the host once the event has passed."""

    pieces: list[_Piece]
    tensors: list[Tensor]
    event: torch.cuda.Event | None

    def take(self) -> None:
        """Hand each window's values to its record."""
        if self.event is not None:
            self.event.synchronize()
        arrays = [tensor.numpy() for tensor in self.tensors]
        for index, piece in enumerate(self.pieces):
            n_own = piece.window.end - piece.window.own_start
            for pool, values in zip(piece.slot.pools[piece.strand], arrays, strict=True):
                pool.add(values[index], n_own)


def one_behind(items: Iterable[One]) -> Iterator[One]:
    """Yield each item when the next has been begun; a fault of the input after those that came before it.

    >>> list(one_behind("abc"))
    ['a', 'b', 'c']
    """
    last: list[One] = []
    fault: InputError | None = None
    try:
        for item in items:
            yield from last
            last = [item]
    except InputError as error:
        fault = error
    yield from last
    if fault is not None:
        raise fault


def write_rows(
    cells: Callable[[Iterable[Item]], Iterator[Cell]], items: Iterable[Item], writer: Writer, *, fatal: bool = True
) -> Iterator[int]:
    """Write the rows of records, and yield after each cell how many records of this call are written or skipped.

    Args:
        cells: What makes cells of records.
        items: All records of the input, in order; those that the writer has already are passed over.
        writer: An `EmbeddingWriter` or `TsvStream`.
        fatal: Whether one record's fault ends the run.

    Raises:
        InputError: A record's fault, unless `fatal` is False; one that always skips (`TooManyN`) never.
    """
    n_done = 0
    todo = itertools.islice(_stop_at_fault(items, fatal=fatal), writer.n_records_done, None)
    for rows in cells(todo):
        if rows.obs:
            writer.write(rows.x, rows.obs, rows.cls)
        for fault in rows.skipped:
            writer.skip(
                fault.record,
                row=fault.row,
                line=fault.line,
                source=STDIN if fault.path == "stdin" else str(fault.path or ""),
                reason=fault.reason,
            )
        writer.commit()
        n_done += len(rows.obs) + len(rows.skipped)
        yield n_done


def _stop_at_fault(items: Iterable[Item], *, fatal: bool) -> Iterator[Item]:
    for number, item in enumerate(items):
        if fatal and isinstance(item, InputError) and item.is_fatal:
            is_single = number > 0 and not item.is_systematic
            reason = f"{item.reason}{'; --on-error skip leaves it out' if is_single else ''}"
            raise type(item)(reason, path=item.path, line=item.line, record=item.record, row=item.row)
        yield item
