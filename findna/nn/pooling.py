"""From hidden states to vectors: class tokens, and how the windows of a sequence are joined."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def class_tokens(hidden: Tensor, rings: NDArray[np.int64], n_class_tokens: int) -> Tensor:
    """The class tokens of each ring, shape (B, K, C); they are its last K positions."""
    ends = torch.as_tensor(rings[1:], device=hidden.device)
    offsets = torch.arange(-n_class_tokens, 0, device=hidden.device)
    return hidden[ends[:, None] + offsets]


class Pool:
    """The vector of one sequence, gathered window by window; windows weigh by the bases they own.

    Args:
        kind: "mean" over bases, "max" over bases, or "cls": the K class tokens end to end, averaged over windows.
    """

    def __init__(self, kind: str) -> None:
        self.is_max = kind == "max"
        self._total: NDArray[np.float64] | None = None
        self._n_bases = 0

    def add(self, values: NDArray[np.float32], n_bases: int) -> None:
        """Add a window: its mean or largest values over the bases it owns, or its class tokens."""
        part = values if self.is_max else values.astype(np.float64) * n_bases
        if self._total is None:
            self._total = part.astype(np.float64)
        elif self.is_max:
            np.maximum(self._total, part, out=self._total)
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
        return (self._total if self.is_max else self._total / self._n_bases).astype(np.float32)
