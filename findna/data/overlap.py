"""What windows have in common with other sequences, or with the windows before them, by their 31-mers."""

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from findna.data.datasets import Corpus, corpus_of
from findna.data.kmers import Words, iter_words
from findna.sequence import Codes, reverse_complement

WORD = 31
"""Bases of a word. By chance, one in a billion words of a genome's size is in another genome of that size."""

ONE_IN = 4
"""`Novelty` looks at one word in so many: one in four, chosen by a hash."""

_MIX = np.uint64(0x9E3779B97F4A7C15)
_MOST_BITS = 28
_CHUNK = 1 << 20

Verdict = Literal["", "repeated", "overlapping"]


def hashed(words: Words, n_bits: int) -> Words:
    """A hash of each k-mer, below 2^n_bits: the place in a table that tells of most k-mers that they are absent."""
    return words * _MIX >> np.uint64(64 - n_bits)


class WordSet:
    """The words of both strands of sequences, eight bytes each.

    Args:
        corpora: The sequences.
    """

    def __init__(self, corpora: Sequence[Corpus]) -> None:
        self._words = np.empty(sum(len(corpus.codes) for corpus in corpora), dtype=np.uint64)
        n = 0
        for corpus in corpora:
            for _, words in iter_words(corpus, WORD):
                self._words[n : n + len(words)] = words
                n += len(words)
        self._words = self._words[:n]
        self._words.sort()  # in place: there may be a hundred million
        # A table of hashes tells of most words at once that they are not here.
        self._n_bits = min(_MOST_BITS, (4 * n).bit_length())
        self._may_have = np.zeros(1 << self._n_bits, dtype=np.bool_)
        for start in range(0, n, _CHUNK):
            self._may_have[self._hash(self._words[start : start + _CHUNK])] = True

    def __len__(self) -> int:
        return len(self._words)

    def count_in(self, corpus: Corpus) -> NDArray[np.int64]:
        """How many of the words of each sequence are among these, on either strand; shape (n,)."""
        n_shared = np.zeros(len(corpus), dtype=np.int64)
        if not len(self):
            return n_shared
        for owners, words in iter_words(corpus, WORD):
            is_candidate = self._may_have[self._hash(words)]
            owners, words = owners[is_candidate], words[is_candidate]
            order = np.argsort(words)  # in order the search runs through memory once
            n_shared += np.bincount(owners[order[_is_in(self._words, words[order])]], minlength=len(corpus))
        return n_shared

    def _hash(self, words: Words) -> Words:
        return hashed(words, self._n_bits)


class Novelty:
    """Tells of each window in turn whether the windows that were kept before it have it already.

    Args:
        max_shared: Largest share of its words that a window may have in common with all those before it; a quarter
            of the words is looked at. A window whose bases, or their reverse complement, were there as they are is
            always left out.
    """

    def __init__(self, max_shared: float) -> None:
        self.max_shared = max_shared
        self._digests: set[bytes] = set()
        self._parts: list[Words] = []  # sorted, each longer than the next

    def sift(self, windows: Sequence[Codes], *, most: int) -> list[Verdict]:
        """For each window why it must be left out, or "" for one that is kept; up to the last of `most` kept ones."""
        verdicts: list[Verdict] = []
        owners, words = _all_words(corpus_of(windows))
        is_chosen = (words * _MIX) >> np.uint64(32) < np.uint64((1 << 32) // ONE_IN)
        owners, words = owners[is_chosen], words[is_chosen]
        different, numbers = np.unique(words, return_inverse=True)
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

    def _take_in(self, words: Words) -> None:
        """Keep them; parts of like size are merged, so that there are few."""
        while self._parts and len(self._parts[-1]) < 2 * len(words):
            words = np.sort(np.concatenate([self._parts.pop(), words]))
        self._parts.append(words)


def _all_words(corpus: Corpus) -> tuple[NDArray[np.int64], Words]:
    """(index of the sequence, word) of all words, in order."""
    found = list(iter_words(corpus, WORD))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.uint64)
    return np.concatenate([owners for owners, _ in found]), np.concatenate([words for _, words in found])


def _is_in(ordered: Words, words: Words) -> NDArray[np.bool_]:
    """Whether each word is among sorted ones."""
    if not len(ordered):
        return np.zeros(len(words), dtype=np.bool_)
    places = np.searchsorted(ordered, words)
    return np.equal(ordered[np.minimum(places, len(ordered) - 1)], words)


def digest(codes: Codes) -> bytes:
    """The same for a sequence and its reverse complement."""
    content = min(codes.tobytes(), reverse_complement(codes).tobytes())
    return hashlib.blake2b(content, digest_size=16).digest()
