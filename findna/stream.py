"""Records through the network, in order: the read-outs of windows, joined to one row per record."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from findna.cells import Item, whole_cells
from findna.data.ahead import ahead
from findna.data.batch import pack
from findna.data.windows import cut
from findna.encode import Packed, Spans, hidden_of
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
        kinds: How the windows of a record are joined: a kind of `Pool` for each array of `read`.
        read: From hidden states (positions, C), rings and the own bases of each window as positions
            [start, end) to tensors with one row per window, float32, on the same device.
    """

    kinds: Sequence[str]
    read: Callable[[Tensor, NDArray[np.int64], Spans], Sequence[Tensor]]


class Passed(NamedTuple):
    """A finished step: the hidden states of a batch, or the records of a cell.

    Args:
        obs: Columns of the finished records.
        values: The read-out for each kind, shape (records, strands, F).
        skipped: Records without a row.
        states: For each window of a batch, the hidden states of its own bases, shape (n, C), on the device.
        is_end: Whether a cell ends here.
    """

    obs: dict[str, list[Any]]
    values: list[NDArray[np.float32]]
    skipped: list[InputError]
    states: list[Tensor]
    is_end: bool

    @property
    def n_rows(self) -> int:
        """Number of finished records."""
        return len(self.obs.get("id", ()))


class _Cell:
    """The records of a cell, their windows on each strand, and the read-outs so far."""

    def __init__(self, items: Sequence[Item], kinds: Sequence[str], *, window: int, stride: int, both: bool) -> None:
        self.records = [item for item in items if isinstance(item, Record)]
        self.skipped = [item for item in items if isinstance(item, InputError)]
        self._n_strands = 1 + both
        self._codes = [record.codes for record in self.records]
        if both:
            self._codes = [each for codes in self._codes for each in (codes, reverse_complement(codes))]
        lengths = np.array([len(codes) for codes in self._codes], dtype=np.int64)
        self.windows = cut(lengths, window=window, stride=stride)
        has_single = self.windows.n == len(lengths)
        self._pools = [_Whole() if has_single and kind != "sd" else Pool(kind, len(lengths)) for kind in kinds]

    def batches(self, most: int) -> Iterator[range]:
        """Yield the windows of each batch of at most this many bases; a longer window is alone in its batch."""
        ends, first = np.cumsum(self.windows.lengths), 0
        while first < len(ends):
            n_before = ends[first - 1] if first else 0
            stop = max(first + 1, int(np.searchsorted(ends, n_before + most, side="right")))
            yield range(first, stop)
            first = stop

    def pack(self, batch: range, *, n_class_tokens: int) -> Packed:
        """These windows in one batch, and the positions of the bases that each owns."""
        sequence, start, end, own_start = (column[batch.start : batch.stop] for column in self.windows[:4])
        places = zip(sequence.tolist(), start.tolist(), end.tolist(), strict=True)
        packed = pack([self._codes[i][first:last] for i, first, last in places], n_class_tokens=n_class_tokens)
        shift = packed.rings[:-1] - start
        return Packed(packed, list(zip((own_start + shift).tolist(), (end + shift).tolist(), strict=True)))

    def add(self, batch: range, arrays: Sequence[NDArray[np.float32]]) -> None:
        """Add the read-outs of these windows."""
        sequence, _, end, own_start = (column[batch.start : batch.stop] for column in self.windows[:4])
        for pool, values in zip(self._pools, arrays, strict=True):
            pool.add(sequence, values, end - own_start)

    def passed(self) -> Passed:
        """Its finished records."""
        if not self.records:
            return Passed({}, [], self.skipped, [], is_end=True)
        vectors = [pool.vectors() for pool in self._pools]
        values = [each.reshape(len(self.records), self._n_strands, -1) for each in vectors]
        return Passed(self._obs(), values, self.skipped, [], is_end=True)

    def _obs(self) -> dict[str, list[Any]]:
        id, _, n_iupac, row, source, name, chrom, start, end, strand, extra = map(list, zip(*self.records, strict=True))
        lengths = np.array([len(record.codes) for record in self.records])
        is_n = np.concatenate([record.codes for record in self.records]) == N
        n_n = np.add.reduceat(is_n, np.cumsum(lengths) - lengths, dtype=np.int64)
        n_windows = np.bincount(self.windows.sequence)[:: self._n_strands].tolist()
        return {
            "id": id,
            "name": name,
            "chrom": chrom,
            "start": start,
            "end": end,
            "strand": strand,
            "source": source,
            "row": row,
            "length": lengths.tolist(),
            "n_windows": n_windows,
            "frac_n": (n_n / lengths).tolist(),
            "n_iupac": n_iupac,
            **{column: [values[column] for values in extra] for column in extra[0]},
        }


class _Whole:
    """A `Pool` of sequences with one window each, but not for standard deviations: their vectors are the read-outs.

    This is exact: `Pool` computes v * n / n in float64, and the product has at most 24 + 29 bits.
    """

    def __init__(self) -> None:
        self._parts: list[NDArray[np.float32]] = []

    def add(self, sequence: NDArray[np.int64], values: NDArray[np.float32], n_bases: NDArray[np.int64]) -> None:
        self._parts.append(values)

    def vectors(self) -> NDArray[np.float32]:
        return np.concatenate(self._parts)


class _Work(NamedTuple):
    """Windows of a cell in one batch; without windows, the end of the cell."""

    cell: _Cell
    batch: range
    packed: Packed | None


class Forward:
    """A network on its device, with its read-out.

    Args:
        network: It is not changed: a copy runs.
        readout: The read-out.
        window: Maximum length of a window, in bases.
        stride: Bases between window starts.
        both_strands: Whether to read the reverse strand of each record, too.
        n_class_tokens: Number of class tokens appended to a window.
        blocks: Blocks after which to read; several are concatenated; (): after the last.
        compute: Where and how it runs; read-outs are float32.
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
        self._most_bases = compute.batch_bases  # the largest batch that is known to fit in the device's memory

    def run(self, items: Iterable[Item], *, with_states: bool = False) -> Iterator[Passed]:
        """Yield the finished and skipped records of each cell, after the requested states of its batches.

        A thread reads and packs in advance, and a GPU gets the next batch before the values of the last one are read.
        Memory is limited to a few batches, however long a record is.

        Args:
            items: Records, and errors in place of records to be skipped.
            with_states: Whether to yield the hidden states of every batch.
        """
        with closing(ahead(self._works(items))) as works:  # type: ignore[type-var]
            launched = ((work, self._launch(work, with_states)) for work in works)
            for work, values in one_behind(launched) if self.compute.device.type == "cuda" else launched:
                for part in values:
                    part.take(work.cell)
                if work.packed is None:
                    yield work.cell.passed()
                elif with_states:
                    yield Passed({}, [], [], [state for part in values for state in part.states], is_end=False)

    def _works(self, items: Iterable[Item]) -> Iterator[_Work]:
        for own in whole_cells(items, self.compute.batch_bases):
            cell = _Cell(own, self._readout.kinds, window=self._window, stride=self._stride, both=self._both_strands)
            for batch in cell.batches(self.compute.batch_bases):
                yield _Work(cell, batch, cell.pack(batch, n_class_tokens=self._n_class_tokens))
            yield _Work(cell, range(0), None)

    def _launch(self, work: _Work, with_states: bool) -> "list[_Values]":
        """The read-out of a batch, perhaps still in progress on a GPU; in halves if the device has too little memory.

        Raises:
            torch.OutOfMemoryError: A single window does not fit.
        """
        cell, batch, packed = work
        if packed is None:
            return []
        n_bases = int(cell.windows.lengths[batch.start : batch.stop].sum())
        if n_bases <= self._most_bases or len(batch) == 1:
            try:
                return [self._values(batch, packed, with_states)]
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
            if self._most_bases == self.compute.batch_bases:
                warnings.warn(
                    f"{self.compute.device} has too little memory for batches of {self._most_bases:,} bases; "
                    "batches are halved until they fit",
                    FindnaWarning,
                    stacklevel=2,
                )
            self._most_bases = n_bases // 2
        middle = len(batch) // 2
        works = (
            _Work(cell, half, cell.pack(half, n_class_tokens=self._n_class_tokens))
            for half in (batch[:middle], batch[middle:])
        )
        return [values for half in works for values in self._launch(half, with_states)]

    @torch.inference_mode()
    def _values(self, windows: range, packed: Packed, with_states: bool) -> "_Values":
        batch, own = packed
        hidden = hidden_of(self.network, batch, blocks=self._blocks, compute=self.compute)
        read = self._readout.read(hidden, batch.rings, own)
        tensors = [tensor.to("cpu", non_blocking=hidden.is_cuda) for tensor in read]
        states = [hidden[start:end] for start, end in own] if with_states else []
        event = torch.cuda.current_stream(self.compute.device).record_event() if hidden.is_cuda else None
        return _Values(windows, tensors, states, event)


class _Values(NamedTuple):
    """The read-outs of a batch's windows, on the host after the event."""

    windows: range
    tensors: list[Tensor]
    states: list[Tensor]
    event: torch.cuda.Event | None

    def take(self, cell: _Cell) -> None:
        """Pass the values of the windows to their records."""
        if self.event is not None:
            self.event.synchronize()
        cell.add(self.windows, [tensor.numpy() for tensor in self.tensors])


def one_behind(items: Iterable[One]) -> Iterator[One]:
    """Yield each item after the next one was started; an error of the input comes after all earlier items.

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
