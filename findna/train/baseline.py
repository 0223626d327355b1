"""The k-mer baseline of masked-base accuracy: the most frequent base between the same neighbours."""

import numpy as np
from numpy.typing import NDArray

from findna.data.batch import Batch
from findna.data.datasets import Corpus
from findna.data.kmers import numbers_of
from findna.recipes import PretrainConfig
from findna.sequence import Codes, N
from findna.train.views import VALID_EPOCH, views_of

BASELINE_BASES = 2_000_000
FLANK = 3
"""Neighbours on each side: a table over 7-mers with the middle unknown."""


def contexts(batch: Batch, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """The neighbours of each position as one number, shape (M,); masked bases, N, class tokens are a fifth letter."""
    letters = np.minimum(batch.codes, N)
    offsets = np.array([*range(-FLANK, 0), *range(1, FLANK + 1)])
    *_, found = numbers_of(letters[(positions[:, None] + offsets) % len(letters)], N + 1)
    return found


class MaskedKmerModel:
    """Counts of each base between the same six neighbours, including masked ones."""

    def __init__(self) -> None:
        self.counts = np.zeros(((N + 1) ** (2 * FLANK), N), dtype=np.int64)

    def fit(self, batch: Batch, positions: NDArray[np.int64], targets: Codes) -> None:
        """Count the masked bases of one more batch."""
        is_known = targets < N
        np.add.at(self.counts, (contexts(batch, positions)[is_known], targets[is_known]), 1)

    def predict(self, batch: Batch, positions: NDArray[np.int64]) -> Codes:
        """The most probable base at each position; shape (M,). For an unseen context, the most frequent base."""
        table = np.where(self.counts.sum(axis=1, keepdims=True) > 0, self.counts, self.counts.sum(axis=0))
        likeliest: Codes = table.argmax(axis=1).astype(np.uint8)
        return likeliest[contexts(batch, positions)]


def fit_baseline(corpus: Corpus, config: PretrainConfig) -> MaskedKmerModel:
    """The k-mer model of up to 2 Mbp of training windows, masked as the student's are."""
    model = MaskedKmerModel()
    n_bases = 0
    for first in range(0, len(corpus), 64):
        indices = range(first, min(first + 64, len(corpus)))
        views = views_of(corpus, indices, epoch=VALID_EPOCH, config=config)
        model.fit(views.student, views.masked, views.targets)
        n_bases += len(views.student.codes)
        if n_bases > BASELINE_BASES:
            break
    return model
