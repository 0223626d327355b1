"""Words of k bases, each the same as its reverse complement."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from findna.data.datasets import Corpus
from findna.sequence import Codes, N

LONGEST = 16
"""Largest k: two bits a base in 32."""

_CHUNK = 1 << 22


def canonical_words(codes: Codes, k: int) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """The word that begins at each base, or its reverse complement if that is smaller; and whether it has no N.

    Both of shape (n - k + 1,), or (0,) where the sequence is shorter than a word.

    Raises:
        ValueError: k is not in 1 to 16.

    >>> canonical_words(np.array([0, 0, 3, 3, 4], np.uint8), 2)[0][:3].tolist()  # AA, AT, TT
    [0, 3, 0]
    """
    if not 1 <= k <= LONGEST:
        raise ValueError(f"k must lie in 1 to {LONGEST}, not {k}")
    n_words = max(0, len(codes) - k + 1)
    bases = codes.astype(np.uint32)
    forward, reverse = np.zeros(n_words, np.uint32), np.zeros(n_words, np.uint32)
    for place in range(k):
        base = bases[place : place + n_words] & np.uint32(3)
        forward = forward << np.uint32(2) | base
        reverse |= (np.uint32(3) - base) << np.uint32(2 * place)
    n_unknown = np.concatenate([[0], np.cumsum(codes >= N)])
    return np.minimum(forward, reverse), n_unknown[k : k + n_words] == n_unknown[:n_words]


def iter_words(corpus: Corpus, k: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint32]]]:
    """Yield (index of the sequence, word) for all words without N, some million bases at a time, in order."""
    first = 0
    while first < len(corpus):
        last = int(np.searchsorted(corpus.offsets, corpus.offsets[first] + _CHUNK, side="right")) - 1
        last = min(max(last, first + 1), len(corpus))
        offsets = corpus.offsets[first : last + 1]
        words, is_known = canonical_words(corpus.codes[offsets[0] : offsets[-1]], k)
        owners = np.repeat(np.arange(first, last), np.diff(offsets))
        is_inside = is_known & (owners[: len(words)] == owners[k - 1 :]) if len(words) else is_known
        yield owners[: len(words)][is_inside], words[is_inside]
        first = last
