"""From hidden states to vectors: class tokens, features, and how the windows of a sequence are joined."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from findna.nn.device import put

_LEAST_VARIANCE = 1e-12
"""Below this a square root's gradient is of no use."""


def class_tokens(hidden: Tensor, rings: NDArray[np.int64], n_class_tokens: int) -> Tensor:
    """The class tokens of each ring, shape (B, K, C); they are its last K positions."""
    ends = put(rings[1:], hidden.device)
    offsets = torch.arange(-n_class_tokens, 0, device=hidden.device)
    return hidden[ends[:, None] + offsets]


_OVER_BASES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda states: states.mean(0),
    "sd": lambda states: torch.stack([states.mean(0), states.var(0, correction=0)]),
    "max": lambda states: states.amax(0),
    "min": lambda states: states.amin(0),
}


def pool_features(
    hidden: Tensor,
    batch_rings: NDArray[np.int64],
    own: Sequence[tuple[int, int]],
    *,
    pools: Sequence[str],
    n_class_tokens: int,
) -> Tensor:
    """The features of each ring, differentiable; shape (B, F): the pools in their order, C values each, cls K * C.

    Args:
        hidden: Hidden states of a batch, shape (positions, C).
        batch_rings: Where each ring begins, and the end; shape (B + 1,).
        own: Of each ring, the positions [start, end) of the bases it owns; they count from the batch's first.
        pools: Of "mean", "sd" (standard deviation, of the population), "max", "min", all over the bases that a ring
            owns, and "cls".
        n_class_tokens: K.
    """
    parts = over_windows(hidden, own, [pool for pool in pools if pool != "cls"])
    if "sd" in parts:
        parts["sd"] = parts["sd"][:, 1].clamp_min(_LEAST_VARIANCE).sqrt()
    if "cls" in pools:
        parts["cls"] = class_tokens(hidden, batch_rings, n_class_tokens).flatten(1)
    return torch.cat([parts[pool] for pool in pools], dim=1)


def n_features(pools: Sequence[str], *, channels: int, n_class_tokens: int) -> int:
    """F, the values that `pool_features` gives.

    >>> n_features(("mean", "cls"), channels=4, n_class_tokens=3)
    16
    """
    return sum(channels * (n_class_tokens if pool == "cls" else 1) for pool in pools)


def over_windows(hidden: Tensor, own: Sequence[tuple[int, int]], pools: Sequence[str]) -> dict[str, Tensor]:
    """What a `Pool` of each kind gathers of each window, differentiable: (B, C), for sd (B, 2, C), mean and variance.

    Args:
        hidden: Hidden states of a batch, shape (positions, C).
        own: Of each window, the positions [start, end) of the bases it owns; they rise.
        pools: Of "mean", "max", "min" and "sd".
    """
    sizes, position = [], 0
    for start, end in own:
        sizes += [start - position, end - start]
        position = end
    sizes.append(len(hidden) - position)
    if hidden.device.type == "cuda" and not hidden.requires_grad:
        lengths = put(np.array(sizes), hidden.device)
        return {pool: by_segments(hidden, lengths, pool)[1::2] for pool in pools}
    # One split: its gradient is one concatenation, where that of a slice is as large as the batch.
    bases = torch.split(hidden, sizes)[1::2]
    return {pool: torch.stack([_OVER_BASES[pool](states) for states in bases]) for pool in pools}


def by_segments(states: Tensor, sizes: Tensor, pool: str) -> Tensor:
    """The pool of each stretch of the states, in a few calls for all of them: a GPU waits for each call.

    Not for training: torch's gradient of an extreme that stands there twice is another than that of `amax`.

    Args:
        states: Shape (positions, C).
        sizes: Positions of each stretch; they add up to all. What an empty one gives means nothing.
        pool: One of those of `over_windows`.
    """
    if pool != "sd":
        return torch.segment_reduce(states, pool, lengths=sizes, unsafe=True)
    means = torch.segment_reduce(states, "mean", lengths=sizes, unsafe=True)
    centred = states - means.repeat_interleave(sizes, dim=0, output_size=len(states))
    return torch.stack([means, torch.segment_reduce(centred.square(), "mean", lengths=sizes, unsafe=True)], dim=1)


class Pool:
    """The vector of one sequence, gathered window by window; windows weigh by the bases they own.

    Args:
        kind: "mean", "max", "min" or "sd" (standard deviation, of the population) over bases, or "cls": the K class
            tokens, averaged over windows.
    """

    def __init__(self, kind: str) -> None:
        self._extreme = {"max": np.maximum, "min": np.minimum}.get(kind)
        self._is_sd = kind == "sd"
        self._total: NDArray[np.float64] | None = None
        self._n_bases = 0

    def add(self, values: NDArray[np.float32], n_bases: int) -> None:
        """Add a window: what `over_windows` gives of the bases it owns, or its class tokens."""
        part = values.astype(np.float64)
        if self._is_sd:
            part[1] += part[0] ** 2
        if not self._extreme:
            part *= n_bases
        if self._total is None:
            self._total = part
        elif self._extreme:
            self._extreme(self._total, part, out=self._total)
        else:
            self._total += part
        self._n_bases += n_bases

    def vector(self) -> NDArray[np.float32]:
        """The vector of all windows added, in their shape.

        Raises:
            ValueError: None was.
        """
        if self._total is None:
            raise ValueError("a sequence without windows has no vector")
        values = self._total if self._extreme else self._total / self._n_bases
        if self._is_sd:
            values = np.sqrt(np.maximum(values[1] - values[0] ** 2, 0))
        return values.astype(np.float32)
