"""Records through the network in their order: what is read of the windows, joined to one row per record."""

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

from findna.cells import Grid, Item, count_item
from findna.data.ahead import ahead
from findna.data.windows import count_windows, iter_windows
from findna.encode import Packed, Piece, Spans, hidden_of, in_batches, pack_pieces
from findna.errors import FindnaWarning, InputError
from findna.nn.device import Precision
from findna.nn.encoder import Encoder
from findna.nn.pooling import Pool
from findna.record import Record
from findna.sequence import N, reverse_complement

One = TypeVar("One")


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


class _Part(NamedTuple):
    """A window, and the record and strand that it is of."""

    slot: Joined
    strand: int
    piece: Piece


class _Work(NamedTuple):
    """A batch, or the end of a cell: all that has passed in it."""

    parts: list[_Part]
    packed: Packed | None
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
            launched = ((work, self._launch(work.parts, work.packed, on_own)) for work in works)
            for work, values in one_behind(launched) if self.device.type == "cuda" else launched:
                if work.packed is not None:
                    for part in values:
                        part.take()
                    continue
                slots = [item for item in work.done if isinstance(item, Joined)]
                yield slots, [item for item in work.done if isinstance(item, InputError)]

    def _works(self, items: Iterable[Item]) -> Iterator[_Work]:
        stream = iter(items)
        for first in stream:
            done: list[Joined | InputError] = []
            parts = self._parts(self._cell(itertools.chain([first], stream)), done)
            for batch in in_batches(parts, n_bases=_n_bases, most=self._batch_bases):
                yield _Work(batch, self._packed(batch), [])
            yield _Work([], None, done)

    def _packed(self, parts: Sequence[_Part]) -> Packed:
        return pack_pieces([part.piece for part in parts], n_class_tokens=self._n_class_tokens)

    def _cell(self, items: Iterable[Item]) -> Iterator[Item]:
        grid = Grid(self._batch_bases)
        for item in items:
            yield item
            if grid.ends(count_item(item)):
                return

    def _parts(self, items: Iterable[Item], done: list[Joined | InputError]) -> Iterator[_Part]:
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
                for start, end, own_start in iter_windows(len(codes), size=self._window, stride=self._stride):
                    yield _Part(slot, strand, Piece(codes[start:end], own_start - start, end - start))

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
        self, parts: list[_Part], packed: Packed | None, on_own: Callable[[list[Tensor]], None] | None
    ) -> "list[_Values]":
        """What is read of a batch, which a GPU may still compute: in halves where the device has too little memory.

        Raises:
            torch.OutOfMemoryError: A single window does not fit.
        """
        if packed is None:
            return []
        n_bases = sum(map(_n_bases, parts))
        if n_bases <= self._most_bases or len(parts) == 1:
            try:
                return [self._values(parts, packed, on_own)]
            except torch.OutOfMemoryError:
                if len(parts) == 1:
                    raise
            if self._most_bases == self._batch_bases:
                warnings.warn(
                    f"{self.device} has too little memory for batches of {self._batch_bases:,} bases; "
                    "batches are halved until they fit",
                    FindnaWarning,
                    stacklevel=2,
                )
            self._most_bases = n_bases // 2
        middle = len(parts) // 2
        halves = parts[:middle], parts[middle:]
        return [values for half in halves for values in self._launch(half, self._packed(half), on_own)]

    @torch.inference_mode()
    def _values(self, parts: list[_Part], packed: Packed, on_own: Callable[[list[Tensor]], None] | None) -> "_Values":
        batch, own = packed
        hidden = hidden_of(self.network, batch, blocks=self._blocks, device=self.device, precision=self.precision)
        read = self._readout.read(hidden, batch.rings, own)
        tensors = [tensor.to("cpu", non_blocking=hidden.is_cuda) for tensor in read]
        if on_own is not None:
            on_own([hidden[start:end] for start, end in own])
        event = torch.cuda.current_stream(self.device).record_event() if hidden.is_cuda else None
        return _Values(parts, tensors, event)


def _n_bases(part: _Part) -> int:
    return len(part.piece.codes)


class _Values(NamedTuple):
    """What was read of a batch's windows, on the host once the event has passed."""

    parts: list[_Part]
    tensors: list[Tensor]
    event: torch.cuda.Event | None

    def take(self) -> None:
        """Hand each window's values to its record."""
        if self.event is not None:
            self.event.synchronize()
        arrays = [tensor.numpy() for tensor in self.tensors]
        for index, part in enumerate(self.parts):
            n_own = part.piece.own_end - part.piece.own_start
            for pool, values in zip(part.slot.pools[part.strand], arrays, strict=True):
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
