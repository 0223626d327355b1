"""From hidden states to vectors: class tokens, features, and the join of the windows of a sequence."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from findna.nn.device import put

Values = NDArray[np.float64]
Counts = NDArray[np.int64]

_LEAST_VARIANCE = 1e-12
"""Below this, the gradient of a square root is useless."""


def class_tokens(hidden: Tensor, rings: NDArray[np.int64], n_class_tokens: int) -> Tensor:
    """The class tokens of each ring, shape (B, K, C); they are its last K positions."""
    ends = put(rings[1:], hidden.device)
    offsets = torch.arange(-n_class_tokens, 0, device=hidden.device)
    return hidden[ends[:, None] + offsets]


@dataclass(frozen=True)
class Pooling:
    """How the hidden states of a sequence become its vector.

    Args:
        over: From the states (n, C) of the bases that a window owns to a summary, (C,) or (k, C); differentiable.
            None: the summary is the class tokens, (K * C,).
        by_segments: The same for consecutive segments of states (positions, C) with these sizes, in a few calls,
            because each call to a GPU takes time. Not for training: torch's gradient of an extreme that occurs twice
            differs from that of `amax`. The result of an empty segment has no meaning.
        weigh: From summaries (B, ...) and numbers of owned bases (B, 1) to weighted summaries.
        combine: From the weighted summaries of two windows to that of both.
        finish: From weighted summaries (n, ...) and numbers of bases (n, 1) to vectors.
        feature: From summaries of single windows (B, ...) to vectors (B, values); differentiable.
    """

    over: Callable[[Tensor], Tensor] | None
    by_segments: Callable[[Tensor, Tensor], Tensor]
    weigh: Callable[[Values, Counts], Values]
    combine: np.ufunc
    finish: Callable[[Values, Counts], Values]
    feature: Callable[[Tensor], Tensor] = lambda gathered: gathered


def _reduced(kind: str) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda states, sizes: torch.segment_reduce(states, kind, lengths=sizes, unsafe=True)


def _mean_and_variance(states: Tensor, sizes: Tensor) -> Tensor:
    means = torch.segment_reduce(states, "mean", lengths=sizes, unsafe=True)
    centred = states - means.repeat_interleave(sizes, dim=0, output_size=len(states))
    return torch.stack([means, torch.segment_reduce(centred.square(), "mean", lengths=sizes, unsafe=True)], dim=1)


def _weighted(parts: Values, n_bases: Counts) -> Values:
    return parts * n_bases


def _moments(parts: Values, n_bases: Counts) -> Values:
    return np.stack([parts[:, 0], parts[:, 1] + parts[:, 0] ** 2], axis=1) * n_bases[:, None]


def _as_it_is(parts: Values, n_bases: Counts) -> Values:
    return parts


def _per_base(total: Values, n_bases: Counts) -> Values:
    return total / n_bases


def _spread(total: Values, n_bases: Counts) -> Values:
    mean, square = total[:, 0] / n_bases, total[:, 1] / n_bases
    spread: Values = np.sqrt(np.maximum(square - mean**2, 0))
    return spread


POOLINGS: Mapping[str, Pooling] = {
    "mean": Pooling(lambda states: states.mean(0), _reduced("mean"), _weighted, np.add, _per_base),
    "cls": Pooling(None, _reduced("mean"), _weighted, np.add, _per_base),
    "max": Pooling(lambda states: states.amax(0), _reduced("max"), _as_it_is, np.maximum, _as_it_is),
    "min": Pooling(lambda states: states.amin(0), _reduced("min"), _as_it_is, np.minimum, _as_it_is),
    "sd": Pooling(
        lambda states: torch.stack([states.mean(0), states.var(0, correction=0)]),
        _mean_and_variance,
        _moments,
        np.add,
        _spread,
        lambda gathered: gathered[:, 1].clamp_min(_LEAST_VARIANCE).sqrt(),
    ),
}
"""The pools of `findna.config.POOLS`; standard deviations are those of the population. A new pool needs one entry here,
and its name there."""


def pool_features(
    hidden: Tensor,
    batch_rings: NDArray[np.int64],
    own: Sequence[tuple[int, int]],
    *,
    pools: Sequence[str],
    n_class_tokens: int,
) -> Tensor:
    """The features of each ring, differentiable; shape (B, F): the pools in order, C values each, K * C for cls.

    Args:
        hidden: Hidden states of a batch, shape (positions, C).
        batch_rings: Start of each ring, and the end; shape (B + 1,).
        own: For each ring, the positions [start, end) in the batch of the bases that it owns.
        pools: Names of `POOLINGS`; all but cls are over the bases that a ring owns.
        n_class_tokens: K.
    """
    gathered = gather(hidden, batch_rings, own, pools=pools, n_class_tokens=n_class_tokens)
    return torch.cat([POOLINGS[pool].feature(part) for pool, part in zip(pools, gathered, strict=True)], dim=1)


def gather(
    hidden: Tensor,
    rings: NDArray[np.int64],
    own: Sequence[tuple[int, int]],
    *,
    pools: Sequence[str],
    n_class_tokens: int,
) -> list[Tensor]:
    """The summary of each window for each pool, differentiable: (B, C), for sd (B, 2, C), for cls (B, K * C).

    Args:
        hidden: Hidden states of a batch, shape (positions, C).
        rings: Start of each window, and the end; shape (B + 1,).
        own: For each window, the positions [start, end) of the bases it owns, in increasing order.
        pools: Names of `POOLINGS`.
        n_class_tokens: K.
    """
    sizes, position = [], 0
    for start, end in own:
        sizes += [start - position, end - start]
        position = end
    sizes.append(len(hidden) - position)
    is_whole = hidden.device.type == "cuda" and not hidden.requires_grad
    lengths = put(np.array(sizes), hidden.device) if is_whole else None
    # One split: its gradient is one concatenation; the gradient of each slice would be as large as the batch.
    windows = torch.split(hidden, sizes)[1::2] if lengths is None else ()
    found = []
    for pooling in (POOLINGS[pool] for pool in pools):
        if pooling.over is None:
            found.append(class_tokens(hidden, rings, n_class_tokens).flatten(1))
        elif lengths is None:
            found.append(torch.stack([pooling.over(states) for states in windows]))
        else:
            found.append(pooling.by_segments(hidden, lengths)[1::2])
    return found


class Pool:
    """Collects the vectors of sequences window by window, weighted by the number of owned bases.

    Args:
        kind: A name of `POOLINGS`.
        n: Number of sequences.
    """

    def __init__(self, kind: str, n: int) -> None:
        self._pooling = POOLINGS[kind]
        self._total: Values | None = None
        self._n_bases = np.zeros((n, 1), dtype=np.int64)

    def add(self, sequence: Counts, values: NDArray[np.float32], n_bases: Counts) -> None:
        """Add windows; the windows of a sequence are consecutive.

        Args:
            sequence: Index of the sequence of each window, increasing, shape (B,).
            values: Their results of `gather`, shape (B, ...).
            n_bases: Number of bases that each owns, shape (B,).
        """
        parts = self._pooling.weigh(values.astype(np.float64), n_bases[:, None])
        if self._total is None:
            self._total = np.empty((len(self._n_bases), *parts.shape[1:]))
        is_first = self._n_bases[sequence, 0] == 0
        is_first[1:] &= sequence[1:] != sequence[:-1]
        self._total[sequence[is_first]] = parts[is_first]
        for index in np.flatnonzero(~is_first):
            total = self._total[sequence[index]]
            self._pooling.combine(total, parts[index], out=total)
        np.add.at(self._n_bases[:, 0], sequence, n_bases)

    def vectors(self) -> NDArray[np.float32]:
        """The vectors, shape (n, F).

        Raises:
            ValueError: A sequence has no window.
        """
        if self._total is None or not self._n_bases.all():
            raise ValueError("a sequence without windows has no vector")
        return self._pooling.finish(self._total, self._n_bases).astype(np.float32)
