"""Corpus: the windows that a pretraining draws from, in memory at one byte a base."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from findna.errors import InputError
from findna.sequence import Codes, N

MAX_N = 0.1
"""A sampled window with more N than this is drawn again."""


@dataclass(frozen=True)
class Corpus:
    """Windows end to end.

    Args:
        codes: Bases of all windows, shape (sum of lengths,).
        offsets: Where each begins, and the end of the last; shape (n + 1,).
    """

    codes: Codes
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Codes:
        return self.codes[self.offsets[index] : self.offsets[index + 1]]


def corpus_of(windows: Iterable[Codes]) -> Corpus:
    """The corpus of these windows, in their order."""
    kept = list(windows)
    codes = np.concatenate(kept) if kept else np.empty(0, np.uint8)
    return Corpus(codes, np.concatenate([[0], np.cumsum([len(w) for w in kept])]).astype(np.int64))


def sample_windows(sequences: Sequence[Codes], *, n: int, size: int, seed: int) -> Corpus:
    """Sample `n` windows of `size` bases, uniformly over all places where one fits.

    Sequences shorter than `size` are taken whole, once each, if none is longer. Window i depends on
    (seed, i) alone. A window with more than 10 % N is drawn again.

    Raises:
        InputError: There is nothing to sample from, or almost all of it is N.
    """
    if not sequences:
        raise InputError("there is no sequence to train on")
    places = np.array([max(0, len(s) - size + 1) for s in sequences], dtype=np.int64)
    if all(len(s) <= size for s in sequences):
        kept = [s for s in sequences if len(s) and np.mean(s == N) <= MAX_N]
        if not kept:
            raise InputError("more than a tenth of every training sequence is N")
        return corpus_of(kept)
    ends = np.cumsum(places)

    def window(index: int) -> Codes:
        rng = np.random.default_rng((seed, index))
        for place in rng.integers(0, ends[-1], size=1000):
            which = int(np.searchsorted(ends, place, side="right"))
            start = int(place - (ends[which] - places[which]))
            codes = sequences[which][start : start + size]
            if np.mean(codes == N) <= MAX_N:
                return codes
        raise InputError("almost every window of the training sequence is N")

    return corpus_of(window(index) for index in range(n))


def is_held_out(name: str, holdout: Iterable[str]) -> bool:
    """Whether a sequence belongs to a held-out contig: its name is one, or begins with one and a colon.

    >>> is_held_out("chr8:100-200", ["chr8"]), is_held_out("chr81", ["chr8"])
    (True, False)
    """
    return any(name == contig or name.startswith(f"{contig}:") for contig in holdout)


def iter_steps(n: int, batch_size: int, *, seed: int, start: int = 0) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield (epoch, indices of the windows) of every update from update `start` on, without end.

    Each epoch takes every window once, in an order that depends on (seed, epoch) alone; what is left over
    at its end and would not fill a batch is left to other epochs.
    """
    batch_size = min(batch_size, n)
    per_epoch = n // batch_size
    for epoch in itertools.count(start // per_epoch):
        order = np.random.default_rng((seed, epoch)).permutation(n)
        first = start % per_epoch if epoch == start // per_epoch else 0
        for step in range(first, per_epoch):
            yield epoch, order[step * batch_size : (step + 1) * batch_size]


def crop(codes: Codes, rng: np.random.Generator, *, min_length: int) -> Codes:
    """A stretch of a window, uniform in length from `min_length` to the whole, and in place; 0 is the whole."""
    if not min_length or len(codes) <= min_length:
        return codes
    length = int(rng.integers(min_length, len(codes) + 1))
    start = int(rng.integers(0, len(codes) - length + 1))
    return codes[start : start + length]
