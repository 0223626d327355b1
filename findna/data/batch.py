"""Packed batches: concatenated sequences, each in its own ring, without padding."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from findna.sequence import BLANK, Codes


class Batch(NamedTuple):
    """Concatenated sequences, each followed by its class tokens.

    Args:
        codes: Shape (sum of lengths,): 0-4 = A C G T N, 5 = a zero row (masked or class token).
        rings: Start of each ring, and the end of the last; shape (B + 1,).
    """

    codes: Codes
    rings: NDArray[np.int64]


def pack(sequences: Sequence[Codes], *, n_class_tokens: int) -> Batch:
    """One batch of sequences in their order, each with its class tokens appended.

    >>> batch = pack([np.array([0, 1], np.uint8), np.array([2], np.uint8)], n_class_tokens=1)
    >>> batch.codes.tolist(), batch.rings.tolist()
    ([0, 1, 5, 2, 5], [0, 3, 5])
    """
    blanks = np.full(n_class_tokens, BLANK, dtype=np.uint8)
    codes = np.concatenate([part for sequence in sequences for part in (sequence, blanks)])
    lengths = [len(sequence) + n_class_tokens for sequence in sequences]
    return Batch(codes, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
