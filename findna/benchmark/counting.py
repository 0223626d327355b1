"""Counting models, which predict a masked base from the bases around it; a baseline for teachers."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from findna.data.augment import mask
from findna.data.datasets import Corpus
from findna.data.kmers import numbers_of
from findna.sequence import BLANK, Codes, N

REACH = 8
"""Number of letters of the longest context."""

STRENGTHS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0)
"""Candidate pseudocounts of the context that is one letter shorter; chosen on training windows."""

_BASES = N  # the codes below N
_LETTERS = N + 1
"""A, C, G, T, and one for unknown bases: masked, N, or outside of the window."""
_BLOCK = 256
_TUNED = 10
"""One in this many training windows is held out to choose order and strength."""


class Masked(NamedTuple):
    """A window with masked bases.

    Args:
        window: Its index.
        codes: Its bases, masked ones blank; shape (n,).
        positions: The masked bases that are known, that is not N; shape (m,).
        original: The window as it is; shape (n,).
    """

    window: int
    codes: Codes
    positions: NDArray[np.int64]
    original: Codes

    @property
    def targets(self) -> Codes:
        """The bases at `positions`."""
        return self.original[self.positions]


def iter_masked(corpus: Corpus, *, fraction: float, seed: int, n_rounds: int = 1) -> Iterator[Masked]:
    """Yield every window `n_rounds` times with new masks. The mask depends only on (seed, round, window)."""
    for index in range(n_rounds * len(corpus)):
        number, window = divmod(index, len(corpus))
        original = corpus[window]
        is_masked = mask(original, np.random.default_rng((seed, number, window)), fraction=fraction)
        yield Masked(window, np.where(is_masked, BLANK, original), np.flatnonzero(is_masked & (original < N)), original)


Contexts = NDArray[np.uint8]
"""Letters around positions, the nearest first, shape (m, REACH); a model of order k takes the first k."""


def left(item: Masked) -> Contexts:
    """The letters on the left of each masked base."""
    return _beside(item.codes, item.positions, range(-1, -REACH - 1, -1))


def left_unmasked(item: Masked) -> Contexts:
    """The bases on the left without masking, which a teacher does not see."""
    return _beside(item.original, item.positions, range(-1, -REACH - 1, -1))


def around(item: Masked) -> Contexts:
    """The letters at the four positions on each side."""
    return _beside(item.codes, item.positions, [side * n for n in range(1, REACH // 2 + 1) for side in (-1, 1)])


def visible_around(item: Masked) -> Contexts:
    """The four nearest unmasked bases on each side, at any distance."""
    known = np.flatnonzero(item.codes < N)
    bases = np.concatenate([np.full(REACH // 2, N, np.uint8), item.codes[known], np.full(REACH // 2, N, np.uint8)])
    place = np.searchsorted(known, item.positions) + REACH // 2  # of the first visible base on the right
    steps = [step for n in range(REACH // 2) for step in (-1 - n, n)]
    visible: Contexts = bases[place[:, None] + np.array(steps)]
    return visible


CONTEXTS: dict[str, Callable[[Masked], Contexts]] = {
    "left": left,
    "left_unmasked": left_unmasked,
    "around": around,
    "visible_around": visible_around,
}


def _beside(codes: Codes, positions: NDArray[np.int64], offsets: Iterable[int]) -> Contexts:
    edge = np.full(REACH, N, np.uint8)
    letters = np.concatenate([edge, np.minimum(codes, N), edge])
    beside: Contexts = letters[positions[:, None] + REACH + np.array(list(offsets))]
    return beside


class CountingModel:
    """The counts of each base after contexts of 0 to 8 bases.

    Each order is smoothed by the context that is one letter shorter: `p_k = (n_k + s p_(k-1)) / (N_k + s)`.

    Attributes:
        order: Number of letters of the context in use.
        strength: s, in counts.
    """

    def __init__(self) -> None:
        self.order, self.strength = REACH, STRENGTHS[0]
        self._counts = [np.zeros((_LETTERS**order, _BASES)) for order in range(REACH + 1)]

    def count(self, contexts: Contexts, targets: Codes) -> None:
        """Count the bases `targets` (m,) in their contexts (m, REACH)."""
        for counts, index in zip(self._counts, numbers_of(contexts, _LETTERS), strict=True):
            np.add.at(counts, (index, targets), 1.0)

    def probabilities(self, contexts: Contexts) -> NDArray[np.float64]:
        """Probabilities of A, C, G and T in each context, shape (m, 4)."""
        *_, found = itertools.islice(self.by_order(contexts, self.strength), self.order + 1)
        return found

    def by_order(self, contexts: Contexts, strength: float) -> Iterator[NDArray[np.float64]]:
        """Yield the probabilities of order 0, 1, ..., each of shape (m, 4)."""
        found = np.full((len(contexts), _BASES), 1 / _BASES)
        for counts, index in zip(self._counts, numbers_of(contexts, _LETTERS), strict=True):
            seen = counts[index]
            found = (seen + strength * found) / (seen.sum(axis=1, keepdims=True) + strength)
            yield found


def fit_counting(items: Iterable[Masked], names: Iterable[str]) -> dict[str, CountingModel]:
    """The counting models of these names, fitted on masked windows.

    Order and strength have the lowest cross-entropy on every tenth window. These windows are then counted, too.
    """
    known = list(items)
    tuned, counted = known[::_TUNED], [item for number, item in enumerate(known) if number % _TUNED]
    models = {}
    for name in names:
        model, contexts_of = CountingModel(), CONTEXTS[name]
        for first in range(0, len(counted), _BLOCK):
            model.count(*_rows(counted[first : first + _BLOCK], contexts_of))
        contexts, targets = _rows(tuned, contexts_of)
        _choose(model, contexts, targets)
        model.count(contexts, targets)
        models[name] = model
    return models


def _rows(block: list[Masked], contexts_of: Callable[[Masked], Contexts]) -> tuple[Contexts, Codes]:
    return np.concatenate([contexts_of(item) for item in block]), np.concatenate([item.targets for item in block])


def _choose(model: CountingModel, contexts: Contexts, targets: Codes) -> None:
    rows = np.arange(len(targets))
    losses = {
        (order, strength): -np.log(found[rows, targets]).mean()
        for strength in STRENGTHS
        for order, found in enumerate(model.by_order(contexts, strength))
    }
    model.order, model.strength = min(losses, key=losses.__getitem__)
