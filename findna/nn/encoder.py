"""The common part of student and teacher, for any mixer: stem, layers, nucleotide head."""

import copy
import math
from collections.abc import Iterable, Sequence
from typing import Self, TypeVar

import torch
from torch import Tensor, nn

from findna.nn.device import Compute
from findna.sequence import ALPHABET
from findna.sizes import ModelConfig


class Encoder(nn.Module):
    """A network on packed batches with one ring per sequence: `ChordMixer` or `Transformer`, which define `forward`.

    Weights keep their type; a `Precision` sets the types of the matrix products and of the residual stream.

    Args:
        config: The size.
        blocks: All blocks, layer after layer.
    """

    def __init__(self, config: ModelConfig, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Linear(len(ALPHABET), config.channels)
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(config.channels, len(ALPHABET))
        self.projection: nn.Module = nn.Identity()  # an optional projection of the class tokens for the contrast

    def depths(self, blocks: Sequence[int]) -> tuple[int, ...]:
        """Blocks after which the hidden states are read: by default after the last.

        Raises:
            ValueError: A block does not exist, or the blocks are not in ascending order.
        """
        depths = tuple(blocks) or (len(self.blocks),)
        if list(depths) != sorted({*depths}) or not 0 <= depths[0] <= depths[-1] <= len(self.blocks):
            raise ValueError(f"blocks {depths} must increase, and lie in 0 to {len(self.blocks)}")
        return depths

    def add_projection(self, width: int) -> None:
        """Add an MLP, C -> H -> width, to the class tokens before their contrast; it is not part of a stored model."""
        config = self.config
        self.projection = nn.Sequential(
            nn.Linear(config.channels, config.hidden), nn.GELU(), nn.Linear(config.hidden, width)
        )

    def nucleotide_logits(self, hidden: Tensor) -> Tensor:
        """Logits over A C G T N of hidden states (..., C), before the softmax of equation 2; shape (..., 5)."""
        return self.head(hidden)  # type: ignore[no-any-return]

    def for_inference(self, compute: Compute) -> Self:
        """A copy on the device, with blocks in the type of the products, which avoids casts."""
        network = copy.deepcopy(self).to(compute.device).eval()
        network.blocks.to(compute.precision.products)
        return network


Network = TypeVar("Network", bound=nn.Module)


def initialise(network: Network, seed: int) -> Network:
    """Initialise the weights as `nn.Linear` does (uniform within 1 / sqrt(fan in)), from a separate generator."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Linear):
                bound = 1 / math.sqrt(module.in_features)
                module.weight.uniform_(-bound, bound, generator=generator)
                module.bias.uniform_(-bound, bound, generator=generator)
    return network
