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
from findna.nn.device import Compute
from findna.nn.encoder import Encoder
from findna.nn.pooling import Pool
from findna.record import Record
from findna.sequence import N, reverse_complement

One = TypeVar("One")


class Readout(NamedTuple):
    """The read-out of the hidden states of a batch.

    Args:
        kinds: How the windows of a record are joined, a kind of `Pool` for each array that `read` gives.
        read: Of hidden states (positions, C), the rings and the own bases of each window as positions
            [start, end): tensors with one row per window, float32, on the same device.
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


class Passed(NamedTuple):
    """A finished step: the hidden states of a batch, or the records of a cell.

    Args:
        slots: Finished records.
        skipped: Records that have no row.
        states: Of each window of a batch the hidden states of its own bases, shape (n, C), on the device.
        is_end: Whether a cell ends here.
    """

    slots: list[Joined]
    skipped: list[InputError]
    states: list[Tensor]
    is_end: bool


class _StrandWindow(NamedTuple):
    """A window, and the record and strand that it is of."""

    slot: Joined
    strand: int
    piece: Piece


class _Work(NamedTuple):
    """A batch, or the end of a cell: all that has passed in it."""

    parts: list[_StrandWindow]
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
        n_class_tokens: Class tokens appended to a window.
        blocks: After how many blocks to read, several side by side; (): after all.
        compute: Where and how it runs; what is read is float32.
    """

    def __init__(
        self,
        network: Encoder,
        readout: Readout,
        *,
        window: int,
        stride: int,
        both_strands: bool,
        n_class_tokens: int,
        blocks: Sequence[int] = (),
        compute: Compute,
    ) -> None:
        self.network = network.for_inference(compute)
        self.compute = compute
        self._readout, self._blocks = readout, blocks
        self._window, self._stride, self._both_strands = window, stride, both_strands
        self._n_class_tokens = n_class_tokens
        self._most_bases = compute.batch_bases  # that fit in the device's memory, as far as is known

    def run(self, items: Iterable[Item], *, with_states: bool = False) -> Iterator[Passed]:
        """Yield the finished and the skipped records of each cell, and before them what is asked of its batches.

        Reading and packing run ahead in a thread, and a GPU has the next batch before the last one's values are taken.
        Memory is a few batches, however long a record is.

        Args:
            items: Records, and in their places the faults of those that are to be skipped.
            with_states: Whether the hidden states of every batch are asked for.
        """
        with closing(ahead(self._works(items))) as works:  # type: ignore[type-var]
            launched = ((work, self._launch(work.parts, work.packed, with_states)) for work in works)
            for work, values in one_behind(launched) if self.compute.device.type == "cuda" else launched:
                for part in values:
                    part.take()
                if work.packed is None:
                    slots = [item for item in work.done if isinstance(item, Joined)]
                    skipped = [item for item in work.done if isinstance(item, InputError)]
                    yield Passed(slots, skipped, [], is_end=True)
                elif with_states:
                    yield Passed([], [], [state for part in values for state in part.states], is_end=False)

    def _works(self, items: Iterable[Item]) -> Iterator[_Work]:
        stream = iter(items)
        for first in stream:
            done: list[Joined | InputError] = []
            parts = self._parts(self._cell(itertools.chain([first], stream)), done)
            for batch in in_batches(parts, n_bases=_n_bases, most=self.compute.batch_bases):
                yield _Work(batch, self._packed(batch), [])
            yield _Work([], None, done)

    def _packed(self, parts: Sequence[_StrandWindow]) -> Packed:
        return pack_pieces([part.piece for part in parts], n_class_tokens=self._n_class_tokens)

    def _cell(self, items: Iterable[Item]) -> Iterator[Item]:
        grid = Grid(self.compute.batch_bases)
        for item in items:
            yield item
            if grid.ends(count_item(item)):
                return

    def _parts(self, items: Iterable[Item], done: list[Joined | InputError]) -> Iterator[_StrandWindow]:
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
                    yield _StrandWindow(slot, strand, Piece(codes[start:end], own_start - start, end - start))

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

    def _launch(self, parts: list[_StrandWindow], packed: Packed | None, with_states: bool) -> "list[_Values]":
        """The read-out of a batch, which a GPU may still compute: in halves if the device has too little memory.

        Raises:
            torch.OutOfMemoryError: A single window does not fit.
        """
        if packed is None:
            return []
        n_bases = sum(map(_n_bases, parts))
        if n_bases <= self._most_bases or len(parts) == 1:
            try:
                return [self._values(parts, packed, with_states)]
            except torch.OutOfMemoryError:
                if len(parts) == 1:
                    raise
            if self._most_bases == self.compute.batch_bases:
                warnings.warn(
                    f"{self.compute.device} has too little memory for batches of {self._most_bases:,} bases; "
                    "batches are halved until they fit",
                    FindnaWarning,
                    stacklevel=2,
                )
            self._most_bases = n_bases // 2
        middle = len(parts) // 2
        halves = parts[:middle], parts[middle:]
        return [values for half in halves for values in self._launch(half, self._packed(half), with_states)]

    @torch.inference_mode()
    def _values(self, parts: list[_StrandWindow], packed: Packed, with_states: bool) -> "_Values":
        batch, own = packed
        hidden = hidden_of(self.network, batch, blocks=self._blocks, compute=self.compute)
        read = self._readout.read(hidden, batch.rings, own)
        tensors = [tensor.to("cpu", non_blocking=hidden.is_cuda) for tensor in read]
        states = [hidden[start:end] for start, end in own] if with_states else []
        event = torch.cuda.current_stream(self.compute.device).record_event() if hidden.is_cuda else None
        return _Values(parts, tensors, states, event)


def _n_bases(part: _StrandWindow) -> int:
    return len(part.piece.codes)


class _Values(NamedTuple):
    """The read-out of a batch's windows, on the host once the event has passed."""

    parts: list[_StrandWindow]
    tensors: list[Tensor]
    states: list[Tensor]
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
    """Yield each item when the next has been begun; an error of the input after the items before it it.

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
