"""ChordMixer, the network of student and teacher, on packed batches; each sequence has its own ring.

On a CPU, the residual stream is channels first, (C, positions); returned hidden states are (positions, C).
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from findna.nn import kernels
from findna.nn.device import FP32, Precision
from findna.nn.encoder import Encoder, initialise
from findna.nn.mixing import MlpWeights, Rotation, is_for_amx, mix
from findna.nn.rows import Turn, Way
from findna.sequence import ALPHABET
from findna.sizes import ModelConfig, Tracks

Made = TypeVar("Made")

GROUP = 4096
"""Positions that go through all blocks together on a CPU, so that they stay in its caches."""

AMX_GROUP = 8192
"""The same for bf16 on a CPU with AMX, without dropout, whose masks are drawn by group: it needs larger products."""


class MixerBlock(nn.Module):
    """Mix the channels of every position, then rotate the update: C -> H -> C, exact GELU."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def weights(self) -> MlpWeights:
        """Both matrices, each with its bias as the last column."""
        return MlpWeights(*(torch.cat([fc.weight, fc.bias[:, None]], dim=1) for fc in (self.fc1, self.fc2)))


class ChordMixer(Encoder):
    """Stem, N layers of M blocks, nucleotide head (sections 3.1 and 3.2 of Yu et al. 2024, arXiv:2405.08538).

    No norm, no position input, no dropout.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, (MixerBlock(config.channels, config.hidden) for _ in range(config.depth)))

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
        """Hidden states of every position, in the type of the weights: (sum of lengths, C times the number of blocks).

        Args:
            codes: Packed codes, shape (sum of lengths,), uint8 or integer.
            rings: Start of each ring, and the end; shape (B + 1,), on the host.
            noise: Added to the one-hot rows, shape (sum of lengths, 5).
            blocks: Blocks after which to read, increasing; 0: the stem, (): after the last. Several are concatenated.
            precision: Of the matrix products and the residual stream.
            dropout: Dropout probability of each block's hidden layer and rotated update, in training.

        Raises:
            ValueError: There are no such blocks.
        """
        depths = self.depths(blocks)
        choice = kernels.choose(
            self.config, device=codes.device, precision=precision, dropout=dropout, is_training=torch.is_grad_enabled()
        )
        share = dropout if torch.is_grad_enabled() else 0.0
        if codes.is_cuda:
            way = kernels.find_way(choice.name)
            return self.on_rows(codes, rings, depths=depths, noise=noise, precision=precision, way=way, dropout=share)
        weights = [block.weights() for block in self.blocks[: depths[-1]]]  # type: ignore[operator]
        bases = torch.arange(len(ALPHABET), device=codes.device)[:, None]
        parts = []
        is_large = is_for_amx(precision.products) and not share
        for first, last in self._groups(codes.device, rings, AMX_GROUP if is_large else GROUP):
            span = slice(int(rings[first]), int(rings[last]))
            rows = (codes[span] == bases).to(self.stem.weight.dtype)  # (5, positions); a blank is zero
            rows = rows if noise is None else rows + noise[span].T
            h = torch.addmm(self.stem.bias[:, None], self.stem.weight, rows).to(precision.stream)  # (C, positions)
            rotations = self._rotations(rings[first : last + 1] - rings[first], codes.device, n_blocks=len(weights))
            states = []
            for start, stop in itertools.pairwise((0, *depths)):
                h = mix(h, weights[start:stop], rotations[start:stop], products=precision.products, dropout=share)
                states.append(h)
            parts.append(states[0] if len(states) == 1 else torch.cat(states))
        return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)).T.to(self.stem.weight.dtype)

    def on_rows(
        self,
        codes: Tensor,
        rings: NDArray[np.int64],
        *,
        depths: Sequence[int],
        noise: Tensor | None = None,
        precision: Precision,
        way: Way,
        dropout: float = 0.0,
    ) -> Tensor:
        """The output of `forward` after these blocks, computed as on a GPU."""

        def turn(tracks: Tracks) -> Turn:
            return Turn(rings, shifts=tracks.shifts, track_width=tracks.width, device=codes.device)

        return kernels.hidden_states(
            self.stem,
            [tuple(block.parameters()) for block in self.blocks[: depths[-1]]],
            codes,
            depths=depths,
            turns=self._by_tracks(turn, n_blocks=depths[-1]),
            noise=noise,
            precision=precision,
            way=way,
            dropout=dropout,
        )

    def _rotations(self, rings: NDArray[np.int64], device: torch.device, *, n_blocks: int) -> list[Rotation]:
        """The rotation of each of the first blocks."""
        channels = self.config.channels

        def rotation(tracks: Tracks) -> Rotation:
            return Rotation(rings, channels=channels, shifts=tracks.shifts, track_width=tracks.width, device=device)

        return self._by_tracks(rotation, n_blocks=n_blocks)

    def _by_tracks(self, make: Callable[[Tracks], Made], *, n_blocks: int) -> list[Made]:
        """The result of `make` for each of the first blocks; blocks with the same tracks share it."""
        tracks = [self.config.tracks(block) for block in range(n_blocks)]
        made = {each: make(each) for each in dict.fromkeys(tracks)}
        return [made[each] for each in tracks]

    def _groups(self, device: torch.device, rings: NDArray[np.int64], size: int) -> Iterator[tuple[int, int]]:
        """Yield the ranges [first, last) of rings that go through the blocks together, at most `size` positions."""
        first = 0
        if device.type == "cpu":
            for ring in range(1, len(rings) - 1):
                if rings[ring + 1] - rings[first] > size:
                    yield first, ring
                    first = ring
        yield first, len(rings) - 1


def extended(network: ChordMixer, max_len: int) -> ChordMixer:
    """The same function, with added blocks at the end of each layer for rings of `max_len` positions.

    An added block has W2 = 0 and b2 = 0, so nothing changes until it is trained; W1 and b1 are random, from a
        separate generator. If the network already reaches this far, no block is added.

    Args:
        network: It is not changed.
        max_len: Positions of the longest ring, class tokens included.

    Raises:
        ValueError: The network was extended before.
    """
    old = network.config
    if old.n_added:
        raise ValueError("the network was already extended: its added blocks would get other tracks")
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
