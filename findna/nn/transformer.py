"""The Transformer that can replace a ChordMixer (FinDNA-T), on packed batches with one ring per sequence.

Pre-norm blocks with RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467), full attention within each sequence, rotary
positions from its first base (Su et al. 2021, arXiv:2104.09864), an MLP with exact GELU. The paper does not describe
its Transformer; these are our choices.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from findna.nn.device import FP32, Precision
from findna.nn.encoder import Encoder
from findna.nn.kernels import choose
from findna.nn.mixing import Run, ring_runs
from findna.sequence import ALPHABET, BLANK
from findna.sizes import ModelConfig

SLOWEST = 10_000.0
"""Number of positions in which the slowest pair of channels turns by one radian."""


class Norm(nn.Module):
    """RMSNorm: each position divided by the root of its mean square, times one weight per channel; in float32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, h: Tensor) -> Tensor:
        """Shape (positions, C) to the same."""
        return F.rms_norm(h, h.shape[-1:], self.weight.float(), eps=1e-6)


class Attention(nn.Module):
    """Every position attends to all positions of its ring, in heads: softmax(q k / sqrt(width of a head)) v.

    Args:
        channels: C.
        head_width: Channels of a head, even.
    """

    def __init__(self, channels: int, head_width: int) -> None:
        super().__init__()
        self.head_width = head_width
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, runs: Sequence[Run], turns: tuple[Tensor, Tensor]) -> Tensor:
        """Normalised states (positions, C), in the type of the products, to their update of the same shape.

        Args:
            x: Normalised states.
            runs: The rings of the batch; each attends only to itself.
            turns: `rotary` of positions up to the longest ring.
        """
        qkv = linear(self.qkv, x)
        parts = []
        for start, n_rings, length in runs:
            rows = qkv[start : start + n_rings * length].view(n_rings, length, 3, -1, self.head_width)
            q, k, v = rows.permute(2, 0, 3, 1, 4)  # (n_rings, heads, length, head_width) each
            seen = F.scaled_dot_product_attention(turned(q, turns), turned(k, turns), v)
            parts.append(seen.transpose(1, 2).reshape(n_rings * length, -1))
        return linear(self.out, torch.cat(parts))


class TransformerBlock(nn.Module):
    """Attention, then an MLP (C -> H -> C); both read the normalised states and are added to the residual stream."""

    def __init__(self, channels: int, hidden: int, head_width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = Norm(channels), Norm(channels)
        self.attention = Attention(channels, head_width)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(
        self, h: Tensor, runs: Sequence[Run], turns: tuple[Tensor, Tensor], products: torch.dtype, dropout: float
    ) -> Tensor:
        """The stream (positions, C) after this block."""
        h = h + F.dropout(self.attention(self.norm1(h).to(products), runs, turns), dropout)
        inner = F.gelu(linear(self.fc1, self.norm2(h).to(products)))
        return h + F.dropout(linear(self.fc2, F.dropout(inner, dropout)), dropout)


class Transformer(Encoder):
    """Stem, N blocks, nucleotide head. Class tokens are zero rows, as in a ChordMixer, distinguished by position."""

    def __init__(self, config: ModelConfig) -> None:
        blocks = (TransformerBlock(config.channels, config.hidden, config.track_width) for _ in range(config.n_layers))
        super().__init__(config, blocks)

    def forward(
        self,
        codes: Tensor,
        rings: NDArray[np.int64],
        *,
        noise: Tensor | None = None,
        blocks: Sequence[int] = (),
        precision: Precision = FP32,
        dropout: float = 0.0,
    ) -> Tensor:
        """Hidden states of every position, float32, shape (sum of lengths, C); as `ChordMixer.forward`.

        Raises:
            ValueError: There are no such blocks.
            ConfigError: The precision has a residual stream in bf16, which RMSNorm here does not support.
        """
        choose(self.config, device=codes.device, precision=precision)
        depths = self.depths(blocks)
        weight = F.pad(self.stem.weight, (0, BLANK + 1 - len(ALPHABET)))  # a zero row has a zero column
        h = F.embedding(codes.int(), weight.T) + self.stem.bias  # (positions, C)
        if noise is not None:
            h = h + noise @ self.stem.weight.T
        runs = ring_runs(rings)
        longest = max((run.length for run in runs), default=0)
        turns = rotary(longest, self.config.track_width, device=codes.device)
        states = [h] if 0 in depths else []
        for n_done, block in enumerate(self.blocks[: depths[-1]], start=1):
            h = block(h, runs, turns, precision.products, dropout if torch.is_grad_enabled() else 0.0)
            if n_done in depths:
                states.append(h)
        return states[0] if len(states) == 1 else torch.cat(states, dim=1)


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """The linear layer, computed in the type of `x`."""
    return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def rotary(n: int, width: int, *, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines by which the pairs of a head's channels turn at positions 0 to n - 1; (n, width / 2) each."""
    rates = SLOWEST ** (-torch.arange(0, width, 2, device=device) / width)
    angles = torch.arange(n, device=device)[:, None] * rates
    return angles.cos(), angles.sin()


def turned(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Queries or keys (..., length, width), channel i and i + width / 2 turned as a pair by their position's angle."""
    cos, sin = (part[: x.shape[-2]].to(x.dtype) for part in turns)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
