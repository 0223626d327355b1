"""ChordMixer, the network of student and teacher, on packed batches with own rings.

Everything inside is channels first, (C, positions): a track is then a few contiguous rows, and its
rotation is two slices of them. Outside, hidden states are (positions, C).
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from findna.config import ModelConfig
from findna.nn import kernels
from findna.nn.encoder import Encoder, initialise
from findna.sequence import ALPHABET, BLANK

MAX_RUNS = 2
"""More runs of equal rings than this are rotated by an index."""

GROUP = 8192
"""Positions that a CPU takes through all blocks at a time in inference, so that they stay in its caches."""


class Run(NamedTuple):
    """Neighbouring rings of one length, rotated together."""

    start: int
    n_rings: int
    length: int


def ring_runs(rings: NDArray[np.int64]) -> list[Run]:
    """The rings of a batch, neighbours of equal length joined.

    >>> ring_runs(np.array([0, 4, 8, 10]))
    [Run(start=0, n_rings=2, length=4), Run(start=8, n_rings=1, length=2)]
    """
    runs: list[Run] = []
    for start, length in zip(rings[:-1].tolist(), np.diff(rings).tolist(), strict=True):
        if runs and runs[-1].length == length:
            runs[-1] = runs[-1]._replace(n_rings=runs[-1].n_rings + 1)
        else:
            runs.append(Run(start, 1, length))
    return runs


class Rotation:
    """`z[t, c] -> z[(t + s(c)) mod L, c]` in every ring of a batch, with s(c) the shift of channel c's track.

    Few runs of equal rings are rotated as slices; many, by an index, which moves the same values in fewer calls.

    Args:
        rings: Where each ring begins, and the end; shape (B + 1,), on the host.
        shifts: Of each track.
        track_width: Channels of a track; the last may have fewer.
        device: Of the hidden states.
    """

    def __init__(
        self,
        rings: NDArray[np.int64],
        *,
        shifts: tuple[int, ...],
        track_width: int,
        device: torch.device | None = None,
    ) -> None:
        self.runs = ring_runs(rings)
        self.tracks = [(slice(k * track_width, (k + 1) * track_width), shift) for k, shift in enumerate(shifts)]
        self._rings, self._device = rings, device
        self._indices: dict[bool, list[Tensor]] = {}

    def pairs(self, to: Tensor, of: Tensor, *, back: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield views of `to` with what of `of` belongs there, both (C, positions); `back` undoes the rotation."""
        if len(self.runs) > MAX_RUNS:
            of = of.float() if of.itemsize < 4 else of  # half types are slow to index on a CPU
            for (rows, _), index in zip(self.tracks, self._index(back), strict=True):
                yield to[rows], of[rows].index_select(1, index)
            return
        for start, n_rings, length in self.runs:
            span = slice(start, start + n_rings * length)
            for rows, shift in self.tracks:
                target = to[rows, span].view(-1, n_rings, length)
                source = of[rows, span].view(-1, n_rings, length)
                turn = (-shift if back else shift) % length
                yield target[..., : length - turn], source[..., turn:]
                if turn:
                    yield target[..., length - turn :], source[..., :turn]

    def _index(self, back: bool) -> list[Tensor]:
        """Of each track, where each position reads; made once a batch."""
        if back not in self._indices:
            lengths = np.diff(self._rings)
            ends = np.repeat(self._rings[1:], lengths)
            positions = np.arange(self._rings[-1])
            indices = []
            for _, shift in self.tracks:
                index = positions + np.repeat((-shift if back else shift) % lengths, lengths)
                index -= np.where(index >= ends, np.repeat(lengths, lengths), 0)
                indices.append(torch.from_numpy(index.astype(np.int32)).to(self._device))
            self._indices[back] = indices
        return self._indices[back]


class AddRotated(torch.autograd.Function):
    """`h + rotate(z)`; the gradient of z is the gradient turned back."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, z: Tensor, rotation: Rotation) -> Tensor:
        ctx.rotation, ctx.dtype = rotation, z.dtype
        out = h.clone()
        for target, source in rotation.pairs(out, z):
            target.add_(source)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        (grad,) = grads
        turned = torch.empty_like(grad, dtype=ctx.dtype)
        for target, source in ctx.rotation.pairs(turned, grad, back=True):
            target.copy_(source)
        return grad, turned, None


class Block(nn.Module):
    """Mix the channels of every position, then rotate the update: C -> H -> C, exact GELU."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, h: Tensor, rotation: Rotation, products: torch.dtype, dropout: float = 0.0) -> Tensor:
        """The stream (C, positions) after this block; in place, and without dropout, where no gradient is recorded."""
        w1, b1, w2, b2 = (p.to(products) for p in (self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias))
        inner = torch.addmm(b1[:, None], w1, h.to(products))  # (H, positions)
        inner = F.gelu(inner) if torch.is_grad_enabled() else torch.ops.aten.gelu_(inner)
        if dropout and torch.is_grad_enabled():
            inner = F.dropout(inner, dropout)
        z = torch.addmm(b2[:, None], w2, inner)  # (C, positions)
        if torch.is_grad_enabled():
            z = F.dropout(z, dropout) if dropout else z
            return AddRotated.apply(h, z, rotation)  # type: ignore[no-any-return, no-untyped-call]
        for target, source in rotation.pairs(h, z):
            target.add_(source)
        return h


class ChordMixer(Encoder):
    """Stem, N layers of M blocks, nucleotide head (sections 3.1 and 3.2 of Yu et al. 2024, arXiv:2405.08538).

    No norm, no position input, no dropout.
    """

    def __init__(self, config: ModelConfig) -> None:
        n_blocks = config.n_layers * config.n_blocks
        super().__init__(config, (Block(config.channels, config.hidden) for _ in range(n_blocks)))

    def forward(
        self,
        codes: Tensor,
        rings: NDArray[np.int64],
        *,
        noise: Tensor | None = None,
        layer: int | None = None,
        products: torch.dtype = torch.float32,
        dropout: float = 0.0,
    ) -> Tensor:
        """Hidden states of every position, float32, shape (sum of lengths, C).

        Args:
            codes: Packed codes, shape (sum of lengths,), uint8 or integer.
            rings: Where each ring begins, and the end; shape (B + 1,), on the host.
            noise: Added to the one-hot rows, shape (sum of lengths, 5).
            layer: After how many layers to stop; 0 is the stem, None is all of them.
            products: Type of the matrix products.
            dropout: Share that each block drops of its hidden layer and of the update that it rotates, in training.

        Raises:
            ValueError: `layer` is out of range.
        """
        blocks = self.first_blocks(layer)
        choice = kernels.choose(
            self.config, device=codes.device, products=products, dropout=dropout, is_training=torch.is_grad_enabled()
        )
        if choice.name != "plain":
            turns = [
                kernels.Turn(rings, shifts=shifts, track_width=width, device=codes.device)
                for shifts, width in self._tracks()
            ]
            return kernels.hidden_states(
                self.stem,
                [tuple(block.parameters()) for block in blocks],
                codes,
                turns=[turns[self._is_added(index)] for index in range(len(blocks))],
                noise=noise,
                products=products,
                way=kernels.find_way(choice.name),
            )
        weight = F.pad(self.stem.weight, (0, BLANK + 1 - len(ALPHABET)))  # a zero row has a zero column
        parts = []
        for first, last in self._groups(codes.device, rings):
            span = slice(int(rings[first]), int(rings[last]))
            h = weight.index_select(1, codes[span].int()) + self.stem.bias[:, None]  # (C, positions)
            if noise is not None:
                h = torch.addmm(h, self.stem.weight, noise[span].T)
            own = rings[first : last + 1] - rings[first]
            rotations = [
                Rotation(own, shifts=shifts, track_width=width, device=codes.device) for shifts, width in self._tracks()
            ]
            for index, block in enumerate(blocks):
                h = block(h, rotations[self._is_added(index)], products, dropout)
            parts.append(h)
        return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)).T

    def _tracks(self) -> list[tuple[tuple[int, ...], int]]:
        """Shifts and track width of a layer's own blocks, then of those that an extension added."""
        config = self.config
        own = (config.shifts, config.track_width)
        return [own, (config.added_shifts, config.added_track_width)] if config.n_added else [own]

    def _is_added(self, index: int) -> bool:
        return index % self.config.n_blocks >= self.config.n_blocks - self.config.n_added

    def _groups(self, device: torch.device, rings: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Yield (first, last) of the rings that go through the blocks together: [first, last)."""
        first = 0
        if device.type == "cpu" and not torch.is_grad_enabled():
            for ring in range(1, len(rings) - 1):
                if rings[ring + 1] - rings[first] > GROUP:
                    yield first, ring
                    first = ring
        yield first, len(rings) - 1


def extended(network: ChordMixer, max_len: int) -> ChordMixer:
    """The same function with the blocks that rings of `max_len` positions need, at the end of each layer.

    An added block has W2 = 0 and b2 = 0, so that nothing changes until it is trained; W1 and b1 are drawn from a
    generator of their own. Where the network reaches so far already, it is given back with no block added.

    Args:
        network: Stays as it is.
        max_len: Positions of the longest ring, class tokens included.

    Raises:
        ValueError: The network was extended before.
    """
    old = network.config
    if old.n_added:
        raise ValueError("the network was extended before: its added blocks would get other tracks")
    if max_len <= (old.extended_len or old.max_len):
        return network
    config = dataclasses.replace(old, extended_len=max_len)
    new = initialise(ChordMixer(config), 0).to(network.stem.weight.device)
    new.stem.load_state_dict(network.stem.state_dict())
    new.head.load_state_dict(network.head.state_dict())
    n_kept = old.n_blocks
    with torch.no_grad():
        for index, block in enumerate(new.blocks):
            layer, place = divmod(index, config.n_blocks)
            if place < n_kept:
                block.load_state_dict(network.blocks[layer * n_kept + place].state_dict())
            else:
                block.fc2.weight.zero_()  # type: ignore[operator, union-attr]
                block.fc2.bias.zero_()  # type: ignore[operator, union-attr]
    return new.train(network.training)
