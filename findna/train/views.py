"""The views of the windows of one update, in portions for the processes."""

from typing import Any, NamedTuple

import numpy as np

from findna.data.augment import Views, make_views
from findna.data.datasets import Corpus, crop, split_evenly
from findna.recipes import PretrainConfig
from findna.sequence import Codes

VALID_EPOCH = 2**32 - 1
"""The "epoch" of the views of held-out windows, which no run reaches."""


class Portion(NamedTuple):
    """The share of one process in an update.

    Args:
        views: The views of its own sequences.
        n_sequences: Sequences in the whole batch.
        n_masked: Masked bases in the whole batch.
        n_bases: Bases in the whole batch.
    """

    views: Views
    n_sequences: int
    n_masked: int
    n_bases: int


def views_of(corpus: Corpus, indices: Any, *, epoch: int, config: PretrainConfig) -> Views:
    """The views of these windows in this epoch; each depends only on (seed, epoch, index)."""
    generators, crops = _crops(corpus, indices, epoch=epoch, config=config)
    return make_views(crops, generators, config)


def portion_of(
    corpus: Corpus, indices: Any, *, epoch: int, config: PretrainConfig, rank: int = 0, size: int = 1
) -> Portion:
    """The share of process `rank` of `size` in a batch of windows, with about as many bases as the others."""
    generators, crops = _crops(corpus, indices, epoch=epoch, config=config)
    lengths = [len(codes) for codes in crops]
    own = split_evenly(lengths, size)[rank]
    views = make_views([crops[i] for i in own], [generators[i] for i in own], config)
    n_masked = sum(round(config.mask_fraction * length) for length in lengths)
    return Portion(views, len(crops), n_masked, sum(lengths))


def _crops(
    corpus: Corpus, indices: Any, *, epoch: int, config: PretrainConfig
) -> tuple[list[np.random.Generator], list[Codes]]:
    generators = [np.random.default_rng((config.seed, epoch, int(index))) for index in indices]
    crops = [
        crop(corpus[int(index)], rng, min_length=config.min_length)
        for index, rng in zip(indices, generators, strict=True)
    ]
    return generators, crops
