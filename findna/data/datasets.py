"""Corpus: the training windows of a pretraining, in memory at one byte per base."""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findna.errors import InputError
from findna.region import Region
from findna.sequence import Codes, N

_UNPLACED = re.compile(r"(?P<chrom>[^_]+)_.+_random")

MAX_N = 0.1
"""A sampled window with more N than this is drawn again."""
_ATTEMPTS = 1000


@dataclass(frozen=True)
class Corpus:
    """Concatenated windows.

    Args:
        codes: Bases of all windows, shape (sum of lengths,).
        offsets: Start of each window, and the end of the last; shape (n + 1,).
    """

    codes: Codes
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Codes:
        return self.codes[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Bases of each; shape (n,)."""
        return np.diff(self.offsets)


def corpus_of(windows: Iterable[Codes]) -> Corpus:
    """The corpus of these windows, in their order."""
    kept = list(windows)
    codes = np.concatenate(kept) if kept else np.empty(0, np.uint8)
    return Corpus(codes, np.concatenate([[0], np.cumsum([len(w) for w in kept])]).astype(np.int64))


def sample_windows(
    stretches: Sequence[Region], fetch: Callable[[Sequence[Region]], Iterable[Codes]], *, n: int, size: int, seed: int
) -> Corpus:
    """Sample `n` windows of `size` bases from stretches of sequence; a shorter stretch is one window.

    A stretch is drawn with a probability proportional to its length, then a place in it uniformly. Window i depends
    only on (seed, i) and the stretches. A window with more than 10 % N is drawn again.

    Args:
        stretches: Regions from which to draw.
        fetch: Returns the bases of such regions, in order.
        n: Number of windows.
        size: Bases per window.
        seed: Of the draws.

    Raises:
        InputError: Almost all of it is N.
    """
    lengths = np.array([stretch.end - stretch.start for stretch in stretches], dtype=np.int64)
    windows: dict[int, Codes] = {}
    for attempt in range(_ATTEMPTS):
        wanted = [index for index in range(n) if index not in windows]
        if not wanted:
            break
        rng = np.random.default_rng((seed, attempt))
        draws = rng.random((n, 2))[wanted]
        places = draw_places(draws, lengths, shares=lengths, wanted=np.full(len(wanted), size))
        regions = [cut_region(stretches[which], start, end) for which, start, end in places]
        windows |= {index: codes for index, codes in zip(wanted, fetch(regions), strict=True) if is_clear(codes)}
    else:
        raise InputError("almost every window of the sequence is N")
    return corpus_of(windows[index] for index in range(n))


def draw_places(
    draws: NDArray[np.float64], lengths: NDArray[np.int64], *, shares: NDArray[Any], wanted: NDArray[np.int64]
) -> list[tuple[int, int, int]]:
    """(stretch, start, end) of windows: a stretch drawn by its weight, then a place in it uniformly.

    Args:
        draws: Two uniform numbers in [0, 1) for each window, shape (m, 2).
        lengths: Bases of each stretch, shape (n,).
        shares: Weight of each stretch, shape (n,), positive.
        wanted: Bases of each window, shape (m,); a shorter stretch is one window.
    """
    ends = np.cumsum(shares)
    which = np.minimum(np.searchsorted(ends, draws[:, 0] * ends[-1], side="right"), len(lengths) - 1)
    n_bases = np.minimum(wanted, lengths[which])
    starts = (draws[:, 1] * (lengths[which] - n_bases + 1)).astype(np.int64)
    return list(zip(which.tolist(), starts.tolist(), (starts + n_bases).tolist(), strict=True))


def cut_region(region: Region, start: int, end: int) -> Region:
    """Its bases [start, end), without a name or strand."""
    return Region(region.chrom, region.start + start, region.start + end)


def is_clear(codes: Codes) -> bool:
    """Whether at most 10 % of the bases are N."""
    return bool(np.mean(codes == N) <= MAX_N)


def held_by(name: str, holdout: Iterable[str], *, source: str = "") -> str:
    """The held-out contig or source of a sequence, or "".

    `chr8:100-200` and the unplaced `chr8_KI270706v1_random` belong to chr8.

    >>> held_by("chr8:100-200", ["chr8"]), held_by("chr81", ["chr8"]), held_by("chr8_KI270706v1_random", ["chr8"])
    ('chr8', '', 'chr8')
    """
    unplaced = _UNPLACED.fullmatch(name.partition(":")[0])
    names = (name, unplaced["chrom"]) if unplaced else (name,)
    return next((e for e in holdout if e == source or any(one == e or one.startswith(f"{e}:") for one in names)), "")


def iter_steps(n: int, batch_size: int, *, seed: int, start: int = 0) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield (epoch, window indices) of every update, starting at update `start`, without end.

    Each epoch takes every window at most once, in an order that depends only on (seed, epoch). Windows that do not
    fill a batch at its end are skipped in that epoch.
    """
    batch_size = min(batch_size, n)
    per_epoch = n // batch_size
    for epoch in itertools.count(start // per_epoch):
        order = np.random.default_rng((seed, epoch)).permutation(n)
        first = start % per_epoch if epoch == start // per_epoch else 0
        for step in range(first, per_epoch):
            yield epoch, order[step * batch_size : (step + 1) * batch_size]


def split_evenly(lengths: Sequence[int], n: int) -> list[list[int]]:
    """The sequences of each of `n` processes, in order, with about the same number of bases per process.

    The longest are assigned first, each to the process with the fewest bases, so `n` sequences give each process one.

    >>> split_evenly([3, 9, 4, 8], 2)
    [[0, 1], [2, 3]]
    """
    parts: list[list[int]] = [[] for _ in range(n)]
    loads = [0] * n
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        least = loads.index(min(loads))
        parts[least].append(index)
        loads[least] += lengths[index]
    return [sorted(part) for part in parts]


def crop(codes: Codes, rng: np.random.Generator, *, min_length: int) -> Codes:
    """A random part of a window, uniform in place and in length from `min_length` to the whole; 0: the whole window."""
    if not min_length or len(codes) <= min_length:
        return codes
    length = int(rng.integers(min_length, len(codes) + 1))
    start = int(rng.integers(0, len(codes) - length + 1))
    return codes[start : start + length]
