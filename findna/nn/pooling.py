"""From hidden states to vectors: class tokens of each ring."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def class_tokens(hidden: Tensor, rings: NDArray[np.int64], n_class_tokens: int) -> Tensor:
    """The class tokens of each ring, shape (B, K, C); they are its last K positions."""
    ends = torch.as_tensor(rings[1:], device=hidden.device)
    offsets = torch.arange(-n_class_tokens, 0, device=hidden.device)
    return hidden[ends[:, None] + offsets]
