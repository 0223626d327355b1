"""The choice of the code that runs the blocks on a GPU, on rows of positions, (T, C).

Three methods give the same values within rounding. `triton` is one fused kernel per block (`findna.nn.fused`). `plain`
is torch (`findna.nn.rows`), and `compile` is the same functions through torch.compile; both pad the weights so that
the vendor's products get aligned rows. `measured.tsv` has the fastest method by GPU, size and pass; `plain` is used for
all others. FINDNA_KERNELS forces a method on a GPU.
A CPU always uses the blocks of `findna.nn.mixing`, channels first, which are called `plain`, too.

Before `triton` or `compile` is used, it must agree with torch on one small block on the device.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from findna.errors import ConfigError
from findna.nn.device import Precision
from findna.nn.measured import FastestWay, capability_of, measured, order
from findna.nn.rows import TORCH, Dropout, Turn, Way, Weights, block, mix, mix_back, torch_way
from findna.sequence import ALPHABET
from findna.sizes import ModelConfig

ENVIRONMENT = "FINDNA_KERNELS"
WAYS = ("triton", "compile", "plain")
MAX_CHANNELS = 512
"""Maximum channels: wider streams do not fit in the registers of a fused block."""

ALIGNED = 8
"""bf16 values in 16 bytes; the vendor's fast kernels need rows of such multiples."""

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
"""Tolerance of a block's update and gradients: norm of the difference divided by the norm."""


class Choice(NamedTuple):
    """The chosen method, and why the preferred ones were refused."""

    name: str
    refused: Mapping[str, str]

    def facts(self) -> dict[str, Any]:
        """Its entry in a report."""
        return {"kernels": self.name, **({"kernels_refused": dict(self.refused)} if self.refused else {})}


def choose(
    config: ModelConfig, *, device: torch.device, precision: Precision, dropout: float = 0.0, is_training: bool = False
) -> Choice:
    """The method for a network; always the same on one machine, because bits must not depend on a clock.

    On a GPU, the fastest measured method for its compute capability, this size and pass, if it works here;
    otherwise plain torch.

    Args:
        config: Of the network.
        device: Where it runs.
        precision: Of the matrix products and the residual stream.
        dropout: In its blocks, in training.
        is_training: Whether a backward pass follows.

    Raises:
        ConfigError: FINDNA_KERNELS names an unknown method, or one that does not work on this GPU; or the precision
            has a residual stream in bf16 and the network is a Transformer.
    """
    if config.mixer == "transformer" and precision.stream == torch.bfloat16:
        raise ConfigError("the norms of a Transformer need a float32 residual stream: choose precision=bf16")
    wanted = os.environ.get(ENVIRONMENT, "") or "auto"
    if wanted not in ("auto", *WAYS):
        raise ConfigError(f"{ENVIRONMENT}={wanted}: known are auto, {', '.join(WAYS)}")
    if device.type != "cuda" or precision.products not in TOLERANCE or config.mixer != "chordmixer":
        return Choice("plain", {})
    dropout = dropout if is_training else 0.0
    names: tuple[str, ...] = (wanted,)
    if wanted == "auto":
        sought = FastestWay(capability_of(device), config.channels, config.hidden, is_training, precision.name, "")
        names = order(measured(), sought)
    refused: dict[str, str] = {}
    for name in names:
        plain = name == "plain"
        problem = (
            ""
            if plain
            else _problem(
                name,
                config.channels,
                config.hidden,
                device=device,
                precision=precision,
                is_training=is_training,
                dropout=dropout,
            )
        )
        if not problem:
            return Choice(name, refused)
        refused[name] = problem
    raise ConfigError(f"{ENVIRONMENT}={wanted} does not work on {device}: {refused[wanted]}")


@cache
def _problem(
    name: str,
    channels: int,
    hidden: int,
    *,
    device: torch.device,
    precision: Precision,
    is_training: bool,
    dropout: float,
) -> str:
    """Why a method cannot be used, or "": runs one block on rings of 3 to 70 positions."""
    limit = TOLERANCE[precision.products]
    try:
        if name == "triton" and torch.cuda.get_device_capability(device) < (8, 0):
            return "the GPU has no bf16 matrix units (compute capability 8.0)"
        if name == "triton" and channels > MAX_CHANNELS:
            return f"{channels} channels are more than {MAX_CHANNELS}"
        with warnings.catch_warnings(action="ignore"):  # compilers print advice once per process
            way = find_way(name)
            errors = deviations(
                way,
                channels,
                hidden,
                device=device,
                precision=precision,
                is_training=is_training,
                dropout=dropout,
            )
    except Exception as error:  # compilers, drivers and caches raise errors of many classes
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]
    wrong = [f"its {part} is off by {error:.2g} of its norm" for part, error in errors.items() if not error <= limit]
    return "; ".join(wrong)


def deviations(
    way: Way,
    channels: int,
    hidden: int,
    *,
    device: torch.device,
    precision: Precision,
    is_training: bool = True,
    dropout: float = 0.0,
) -> dict[str, float]:
    """The relative deviation of one block with random weights from torch: update, and gradients by name."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(shape, generator=generator) * scale).to(device)

    turn = Turn(np.array([0, 40, 43, 113]), shifts=(0, 1, 2, 64), track_width=-(-channels // 4), device=device)
    h, grad = (draw(113, channels).to(precision.stream) for _ in range(2))
    weights = Weights(
        draw(hidden, channels, scale=channels**-0.5),
        draw(hidden),
        draw(channels, hidden, scale=hidden**-0.5),
        draw(channels),
    )
    drop = Dropout(dropout, 0, hidden) if dropout else None
    found, expected = (
        _one_block(each, h, grad, weights, turn, drop, precision=precision, is_training=is_training)
        for each in (way, TORCH)
    )
    return {name: float((found[name] - value).norm() / value.norm()) for name, value in expected.items()}


def _one_block(
    way: Way,
    h: Tensor,
    grad: Tensor,
    weights: Weights,
    turn: Turn,
    dropout: Dropout | None,
    *,
    precision: Precision,
    is_training: bool,
) -> dict[str, Tensor]:
    """The update of a block, and all gradients, without the part of the residual connection."""
    with torch.set_grad_enabled(is_training):
        leaves = [tensor.clone().requires_grad_(is_training) for tensor in (h, *weights)]
        (padded,) = _padded([leaves[1:]], way, precision.products)
        out = block(leaves[0], padded, turn, dropout, way)
        values = {"update": out.detach().float() - h}
        if is_training:
            gradients = torch.autograd.grad(out, leaves, grad)
            names = ("stream", *Weights._fields)
            values |= {f"gradient of {n}": g.float() for n, g in zip(names, gradients, strict=True)}
            values["gradient of stream"] = values["gradient of stream"] - grad
    return values


@cache
def find_way(name: str) -> Way:
    """The method of this name, compiled at its first call.

    Raises:
        ImportError: Triton is not installed.
    """
    if name == "plain":
        return TORCH._replace(hidden=ALIGNED, channels=ALIGNED)
    if name == "compile":
        compiled = torch_way(torch.compile(mix, dynamic=True), torch.compile(mix_back, dynamic=True))
        return compiled._replace(hidden=ALIGNED, channels=ALIGNED)
    from findna.nn import fused

    return Way(fused.block_forward, fused.block_backward, hidden=fused.HIDDEN, channels=fused.TILE)


def hidden_states(
    stem: nn.Linear,
    blocks: Sequence[Sequence[Tensor]],
    codes: Tensor,
    *,
    depths: Sequence[int],
    turns: Sequence[Turn],
    noise: Tensor | None,
    precision: Precision,
    way: Way,
    dropout: float = 0.0,
) -> Tensor:
    """Hidden states of every position after some blocks, in the type of the weights: (T, C times the number of depths).

    Args:
        stem: Of the network.
        blocks: The weights of each block, in the order of `Weights`.
        codes: Packed codes, shape (T,), uint8: the one-hot rows are made here, on the device.
        depths: Blocks after which to read, increasing.
        turns: The rotation of each block.
        noise: Added to the one-hot rows, shape (T, 5).
        precision: Of the matrix products and the residual stream.
        way: How a block is computed.
        dropout: Fraction of the hidden layer and of the update that each block drops. torch's generator on the host
            gives one seed per block.
    """
    rows = (codes[:, None] == torch.arange(len(ALPHABET), device=codes.device)).float()  # a blank is a zero row
    h = F.linear(rows if noise is None else rows + noise, stem.weight, stem.bias).to(precision.stream)
    states = [h] if 0 in depths else []
    padded = _padded(blocks, way, precision.products)
    seeds = torch.randint(2**62, (len(padded),)).tolist() if dropout else [0] * len(padded)
    for n_done, (weights, turn, seed) in enumerate(zip(padded, turns, seeds, strict=True), start=1):
        h = block(h, weights, turn, Dropout(dropout, seed, len(blocks[0][0])) if dropout else None, way)
        if n_done in depths:
            states.append(h)
    return (states[0] if len(states) == 1 else torch.cat(states, dim=1)).to(stem.weight.dtype)


def _padded(blocks: Sequence[Sequence[Tensor]], way: Way, products: torch.dtype) -> list[Weights]:
    """The weights of all blocks in the products' type, padded in a few calls for all blocks."""
    if not blocks or way.hidden == way.channels == 1:
        return [Weights(*(tensor.to(products) for tensor in block)) for block in blocks]
    w1, b1, w2, b2 = (torch.stack(tensors).to(products) for tensors in zip(*blocks, strict=True))
    hidden, channels = -w1.shape[1] % way.hidden, -w1.shape[2] % way.channels
    padded = (
        F.pad(w1, (0, channels, 0, hidden)),
        F.pad(b1, (0, hidden)),
        F.pad(w2, (0, hidden, 0, channels)),
        F.pad(b2, (0, channels)),
    )
    return [Weights(*tensors) for tensors in zip(*(tensor.unbind() for tensor in padded), strict=True)]
