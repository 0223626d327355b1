"""Canonical k-mers: the smaller one of a k-mer and its reverse complement."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findna.data.datasets import Corpus
from findna.sequence import Codes, N

LONGEST = 31
"""Largest k: two bits per base in 64 bits. With odd k, no k-mer is its own reverse complement."""

Kmers = NDArray[np.unsignedinteger[Any]]
"""uint32 up to k = 16, uint64 above."""

_CHUNK = 1 << 18


def numbers_of(letters: NDArray[np.uint8], n_letters: int) -> Iterator[NDArray[np.int64]]:
    """Yield the first 0, 1, ... letters of each row as one number, most significant letter first; each of shape (m,).

    >>> [numbers.tolist() for numbers in numbers_of(np.array([[0, 2], [1, 0]], np.uint8), 5)]
    [[0, 0], [0, 1], [2, 5]]
    """
    index = np.zeros(len(letters), np.int64)
    yield index
    for letter in letters.T:
        index = index * n_letters + letter
        yield index


def canonical_kmers(codes: Codes, k: int) -> tuple[Kmers, NDArray[np.bool_]]:
    """The canonical k-mer that begins at each base, and whether it has no N.

    Both have shape (n - k + 1,), or (0,) if the sequence is shorter than k.

    Raises:
        ValueError: k is not in 1 to 31.

    >>> canonical_kmers(np.array([0, 0, 3, 3, 4], np.uint8), 2)[0][:3].tolist()  # AA, AT, TT
    [0, 3, 0]
    """
    if not 1 <= k <= LONGEST:
        raise ValueError(f"k must lie in 1 to {LONGEST}, not {k}")
    n_kmers = max(0, len(codes) - k + 1)
    kind: Any = np.uint32 if k <= 16 else np.uint64
    bases: Kmers = (codes & np.uint8(3)).astype(kind)
    forward, reverse = _kmers(bases, k, is_reverse=False), _kmers(kind(3) - bases, k, is_reverse=True)
    n_unknown = np.concatenate([[0], np.cumsum(codes >= N)])
    return np.minimum(forward, reverse), n_unknown[k : k + n_kmers] == n_unknown[:n_kmers]


def _kmers(bases: Kmers, k: int, *, is_reverse: bool) -> Kmers:
    """The k-mer that begins at each base: its first base in the highest bits, or if `is_reverse` in the lowest.

    A k-mer is built from two halves, which takes log k steps.
    """
    if k == 1 or len(bases) < k:
        return bases if k == 1 else bases[:0]
    half = k // 2
    halves = _kmers(bases, half, is_reverse=is_reverse)
    first, second, n_second = halves, halves[half:], half
    if k % 2:  # the second part is one base longer: the half and the next base
        first, n_second = halves, half + 1
        second = _join(halves[half:], bases[2 * half :], half, 1, is_reverse=is_reverse)
    return _join(first, second, half, n_second, is_reverse=is_reverse)


def _join(first: Kmers, second: Kmers, n_first: int, n_second: int, *, is_reverse: bool) -> Kmers:
    n_kmers = min(len(first), len(second))
    kind = first.dtype.type
    if is_reverse:
        return second[:n_kmers] << kind(2 * n_first) | first[:n_kmers]
    return first[:n_kmers] << kind(2 * n_second) | second[:n_kmers]


def iter_kmers(corpus: Corpus, k: int) -> Iterator[tuple[NDArray[np.int64], Kmers]]:
    """Yield (index of the sequence, k-mer) of all k-mers without N in order, a quarter of a million bases at a time."""
    first = 0
    while first < len(corpus):
        last = int(np.searchsorted(corpus.offsets, corpus.offsets[first] + _CHUNK, side="right")) - 1
        last = min(max(last, first + 1), len(corpus))
        offsets = corpus.offsets[first : last + 1]
        kmers, is_known = canonical_kmers(corpus.codes[offsets[0] : offsets[-1]], k)
        owners = np.repeat(np.arange(first, last), np.diff(offsets))
        is_inside = is_known & (owners[: len(kmers)] == owners[k - 1 :]) if len(kmers) else is_known
        yield owners[: len(kmers)][is_inside], kmers[is_inside]
        first = last
