"""Networks for comparison in speed: a forward pass written as in the equations, and a BERT."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from findna.benchmark.options import SpeedConfig
from findna.benchmark.timing import TimedCase, random_sequences
from findna.nn.chordmixer import ChordMixer
from findna.nn.device import PRECISIONS
from findna.nn.encoder import initialise
from findna.sequence import BLANK
from findna.sizes import SIZES

NAIVE_SEQUENCES = 8
"""Number of sequences in a naive forward pass."""

BERT = "BERT of 12 layers, 768"

BERT_BASES_A_TOKEN = 5
"""Bases per token of DNABERT-2 (Zhou et al. 2024, arXiv:2306.15006: sequences become about 5 times shorter)."""


def naive_forward(network: ChordMixer, codes: Tensor) -> Tensor:
    """Hidden states (B, L, C) of sequences of one length, codes (B, L): the equations written out directly."""
    config = network.config
    h = network.stem(F.one_hot(codes.long(), BLANK + 1)[..., :BLANK].float())
    for index, block in enumerate(network.blocks):
        z = block.fc2(F.gelu(block.fc1(h)))  # type: ignore[operator]
        shifts, width = config.tracks(index)
        parts = z.split(width, dim=-1)
        turned = [torch.roll(part, -shift, dims=1) for part, shift in zip(parts, shifts, strict=True)]
        h = h + torch.cat(turned, dim=-1)
    return h  # type: ignore[no-any-return]


def naive(size: str, config: SpeedConfig, device: torch.device) -> Iterator[TimedCase]:
    """The naive forward pass in float32, relative to the float32 products; nothing without those."""
    if "fp32" not in config.precisions:
        return
    network = initialise(ChordMixer(SIZES[size]), 0).eval().to(device)
    n_sequences = config.n_bases // 1000
    codes = torch.from_numpy(np.stack(random_sequences([1000] * n_sequences))).to(device)

    @torch.inference_mode()
    def run() -> None:
        for part in torch.split(codes, NAIVE_SEQUENCES):
            naive_forward(network, part)

    n_bases = 1000 * n_sequences
    n_flops = 2.0 * SIZES[size].n_parameters * n_bases
    yield TimedCase("naive forward", "fp32", "1000", n_bases, 1000 * NAIVE_SEQUENCES, n_flops, run)


def bert(config: SpeedConfig, precision: str, device: torch.device) -> Iterator[TimedCase]:
    """A BERT of DNABERT-2's size (12 layers, 768) with random weights; nothing if transformers is not installed."""
    try:
        from transformers import BertConfig, BertModel
    except ImportError:
        return
    torch.manual_seed(0)
    size = BertConfig(vocab_size=4096, max_position_embeddings=1000 // BERT_BASES_A_TOKEN + 2)
    network = BertModel(size, add_pooling_layer=False).eval().to(device, PRECISIONS[precision].products)
    n_sequences = config.n_bases // 1000
    tokens = torch.randint(5, 4096, (n_sequences, 1000 // BERT_BASES_A_TOKEN), device=device)
    n_parameters = sum(p.numel() for name, p in network.named_parameters() if "embeddings" not in name)

    @torch.inference_mode()
    def run() -> None:
        for part in torch.split(tokens, NAIVE_SEQUENCES):
            network(part)

    n_bases = 1000 * n_sequences
    yield TimedCase(BERT, precision, "1000", n_bases, 1000 * NAIVE_SEQUENCES, 2.0 * n_parameters * tokens.numel(), run)
