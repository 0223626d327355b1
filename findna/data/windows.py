"""Windows that cover a sequence longer than the teacher's window; each base belongs to one of them."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from findna.errors import ConfigError, InputError
from findna.record import Record


class Window(NamedTuple):
    """Bases [start, end) of a sequence; it owns the bases from `own_start`."""

    start: int
    end: int
    own_start: int


def iter_windows(length: int, *, size: int, stride: int) -> Iterator[Window]:
    """Yield the windows of a sequence from left to right; the last one ends at the end of the sequence.

    Every base is owned by the first window that covers it. A sequence of at most `size` bases is one window.

    Raises:
        ConfigError: `stride` is not within 1 to `size`: bases would be skipped.

    >>> [tuple(window) for window in iter_windows(25, size=10, stride=10)]
    [(0, 10, 0), (10, 20, 10), (15, 25, 20)]
    """
    refuse_gaps(size, stride)
    start = owned = 0
    while start + size < length:
        yield Window(start, start + size, owned)
        start, owned = start + stride, start + size
    yield Window(max(0, length - size), length, owned)


def refuse_gaps(size: int, stride: int) -> None:
    """Raise if windows of this size and stride would skip bases.

    Raises:
        ConfigError: They would.
    """
    if not 1 <= stride <= size:
        raise ConfigError(
            f"a stride of {stride} must lie in 1 to the window of {size} bases: otherwise bases would be skipped"
        )


def count_windows(length: int, *, size: int, stride: int) -> int:
    """How many windows `iter_windows` yields.

    >>> count_windows(25, size=10, stride=10)
    3
    """
    return 1 + max(0, -(-(length - size) // stride))


class Windows(NamedTuple):
    """All windows of a corpus, in its order; every array has shape (m,), int64.

    Args:
        sequence: Index of the sequence.
        start: First base of the window.
        end: One past its last.
        own_start: First of the bases that no window before it has.
        share: Fraction of its sequence's bases that it owns, float64; the windows of a sequence add up to 1.
    """

    sequence: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    own_start: NDArray[np.int64]
    share: NDArray[np.float64]

    @property
    def n(self) -> int:
        """Number of windows."""
        return len(self.sequence)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Bases in each."""
        return self.end - self.start


def cut(lengths: NDArray[np.int64], *, window: int, stride: int) -> Windows:
    """The windows of all sequences of these lengths, as in `iter_windows`.

    Raises:
        ConfigError: As `iter_windows`.
    """
    refuse_gaps(window, stride)
    n_windows = 1 + np.maximum(0, -((window - lengths) // stride))
    sequence = np.repeat(np.arange(len(lengths)), n_windows)
    place = np.arange(len(sequence)) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    length = lengths[sequence]
    is_last = place == n_windows[sequence] - 1
    start = np.where(is_last, np.maximum(0, length - window), place * stride)
    end = np.where(is_last, length, start + window)
    own_start = np.where(place == 0, 0, (place - 1) * stride + window)
    return Windows(sequence, start, end, own_start, (end - own_start) / length)


def join(values: NDArray[Any], windows: Windows, n: int) -> NDArray[np.float64]:
    """Values of windows (m, k) averaged to one row per sequence (n, k), weighted by the number of owned bases."""
    joined = np.zeros((n, values.shape[1]))
    np.add.at(joined, windows.sequence, values.astype(np.float64) * windows.share[:, None])
    return joined


def is_joined(windows: Windows, n: int) -> NDArray[np.bool_]:
    """Which of n sequences have more than one window; shape (n,)."""
    return np.asarray(np.bincount(windows.sequence, minlength=n) > 1)


def split_windows(items: Iterable[Record | InputError], *, size: int, stride: int) -> Iterator[Record | InputError]:
    """Yield the windows of records as separate records; errors are passed on.

    A window's id is that of the record with `:start-end`, 0-based in the direction of reading. It has its own
    coordinates if the record's bases are contiguous in the genome; else it has those of the record.
    """
    for item in items:
        if isinstance(item, InputError):
            yield item
            continue
        is_one_stretch = not item.extra and item.end - item.start == len(item.codes)
        for start, end, _ in iter_windows(len(item.codes), size=size, stride=stride):
            place = _place(item, start, end) if is_one_stretch else (item.start, item.end)
            codes = item.codes[start:end]
            yield item._replace(id=f"{item.id}:{start}-{end}", codes=codes, start=place[0], end=place[1])


def _place(record: Record, start: int, end: int) -> tuple[int, int]:
    if record.strand == "-":
        return record.end - end, record.end - start
    return record.start + start, record.start + end
