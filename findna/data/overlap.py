"""The 31-mers that windows share with other sequences or with earlier windows."""

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from findna.data.datasets import Corpus, corpus_of
from findna.data.kmers import Kmers, iter_kmers
from findna.sequence import Codes, reverse_complement

K = 31
"""k. By chance, one in a billion k-mers of a genome is in an unrelated genome of the same size."""

ONE_IN = 4
"""`Novelty` uses one k-mer in four, chosen by a hash."""

_MIX = np.uint64(0x9E3779B97F4A7C15)
_MOST_BITS = 28
_CHUNK = 1 << 20

Verdict = Literal["", "repeated", "overlapping"]


def hashed(kmers: Kmers, n_bits: int) -> Kmers:
    """A hash of each k-mer, below 2^n_bits: its index in a table that rules out most absent k-mers."""
    return kmers * _MIX >> np.uint64(64 - n_bits)


class KmerSet:
    """The k-mers of both strands of sequences, eight bytes each.

    Args:
        corpora: The sequences.
    """

    def __init__(self, corpora: Sequence[Corpus]) -> None:
        self._kmers = np.empty(sum(len(corpus.codes) for corpus in corpora), dtype=np.uint64)
        n = 0
        for corpus in corpora:
            for _, kmers in iter_kmers(corpus, K):
                self._kmers[n : n + len(kmers)] = kmers
                n += len(kmers)
        self._kmers = self._kmers[:n]
        self._kmers.sort()  # in place: there may be a hundred million
        # A table of hashes rules out most k-mers at once.
        self._n_bits = min(_MOST_BITS, (4 * n).bit_length())
        self._may_have = np.zeros(1 << self._n_bits, dtype=np.bool_)
        for start in range(0, n, _CHUNK):
            self._may_have[self._hash(self._kmers[start : start + _CHUNK])] = True

    def __len__(self) -> int:
        return len(self._kmers)

    def count_in(self, corpus: Corpus) -> NDArray[np.int64]:
        """Number of k-mers of each sequence that are in the set, on either strand; shape (n,)."""
        n_shared = np.zeros(len(corpus), dtype=np.int64)
        if not len(self):
            return n_shared
        for owners, kmers in iter_kmers(corpus, K):
            is_candidate = self._may_have[self._hash(kmers)]
            owners, kmers = owners[is_candidate], kmers[is_candidate]
            order = np.argsort(kmers)  # sorted queries pass through memory once
            n_shared += np.bincount(owners[order[_is_in(self._kmers, kmers[order])]], minlength=len(corpus))
        return n_shared

    def _hash(self, kmers: Kmers) -> Kmers:
        return hashed(kmers, self._n_bits)


class Novelty:
    """Decides for each window in turn whether earlier kept windows already contain it.

    Args:
        max_shared: Maximum fraction of its k-mers that a window may share with all earlier ones, estimated from a
            quarter of the k-mers. An exact duplicate of an earlier window, on either strand, is always skipped.
    """

    def __init__(self, max_shared: float) -> None:
        self.max_shared = max_shared
        self._digests: set[bytes] = set()
        self._parts: list[Kmers] = []  # sorted, each longer than the next

    def sift(self, windows: Sequence[Codes], *, most: int) -> list[Verdict]:
        """The reason to skip each window, or "" for a kept one; ends after `most` kept windows."""
        verdicts: list[Verdict] = []
        owners, kmers = _all_kmers(corpus_of(windows))
        is_chosen = (kmers * _MIX) >> np.uint64(32) < np.uint64((1 << 32) // ONE_IN)
        owners, kmers = owners[is_chosen], kmers[is_chosen]
        different, numbers = np.unique(kmers, return_inverse=True)
        is_known = np.zeros(len(different), dtype=np.bool_)
        for part in self._parts:
            is_known |= _is_in(part, different)
        was_known = is_known.copy()
        edges = np.searchsorted(owners, np.arange(len(windows) + 1))
        for index, codes in enumerate(windows):
            if not most:
                break
            own = numbers[edges[index] : edges[index + 1]]
            key = digest(codes)
            if key in self._digests:
                verdicts.append("repeated")
            elif len(own) and is_known[own].mean() > self.max_shared:
                verdicts.append("overlapping")
            else:
                self._digests.add(key)
                is_known[own] = True
                verdicts.append("")
                most -= 1
        self._take_in(different[is_known & ~was_known])
        return verdicts

    def _take_in(self, kmers: Kmers) -> None:
        """Add k-mers; parts of similar size are merged, so that there are few."""
        while self._parts and len(self._parts[-1]) < 2 * len(kmers):
            kmers = np.sort(np.concatenate([self._parts.pop(), kmers]))
        self._parts.append(kmers)


def _all_kmers(corpus: Corpus) -> tuple[NDArray[np.int64], Kmers]:
    """(index of the sequence, k-mer) of all k-mers, in order."""
    found = list(iter_kmers(corpus, K))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.uint64)
    return np.concatenate([owners for owners, _ in found]), np.concatenate([kmers for _, kmers in found])


def _is_in(ordered: Kmers, kmers: Kmers) -> NDArray[np.bool_]:
    """Whether each k-mer is in a sorted array."""
    if not len(ordered):
        return np.zeros(len(kmers), dtype=np.bool_)
    places = np.searchsorted(ordered, kmers)
    return np.equal(ordered[np.minimum(places, len(ordered) - 1)], kmers)


def digest(codes: Codes) -> bytes:
    """A digest that is the same for a sequence and its reverse complement."""
    content = min(codes.tobytes(), reverse_complement(codes).tobytes())
    return hashlib.blake2b(content, digest_size=16).digest()
