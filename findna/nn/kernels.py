"""The code that runs the blocks on a GPU: rows of positions, (T, C), with little memory in training.

Three methods give the same values within rounding. `triton` is one fused kernel per block (`findna.nn.fused`). `plain`
is the functions below in torch, and `compile` is the same functions through torch.compile; both pad the weights so that
the vendor's products get aligned rows. `measured.tsv` has the fastest method by GPU, size and pass; `plain` is used for
all others. FINDNA_KERNELS forces a method on a GPU.
On a CPU, `plain` means the blocks of `findna.nn.mixing`, channels first, and `rows` the functions below. A CPU with
AMX uses `rows` if they are faster according to the table; other CPUs use them only if forced.

Before `triton` or `compile` is used, it must agree with torch on one small block on the device.

In training, a block saves only its input, in the type of the products. The backward pass computes the hidden layer
again, so memory is a quarter of that of autograd.
"""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from findna.errors import ConfigError
from findna.nn.device import Precision, put
from findna.nn.measured import FastestWay, capability_of, measured, order
from findna.nn.mixing import LEADING
from findna.sequence import ALPHABET
from findna.sizes import ModelConfig

ENVIRONMENT = "FINDNA_KERNELS"
WAYS = ("triton", "compile", "plain")
ROWS = "rows"
"""The method of a CPU besides `plain`."""
MAX_CHANNELS = 512
"""Maximum channels: wider streams do not fit in the registers of a fused block."""

ALIGNED = 8
"""bf16 values in 16 bytes; the vendor's fast kernels need rows of such multiples."""

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
"""Tolerance of a block's update and gradients: norm of the difference divided by the norm."""


class Weights(NamedTuple):
    """Weights of one block, in the type of the products; H and C may be padded with zeros."""

    w1: Tensor  # (H, C)
    b1: Tensor  # (H,)
    w2: Tensor  # (C, H)
    b2: Tensor  # (C,)


class Turn:
    """The rotation of a batch's rings, as tables of positions.

    Args:
        rings: Where each ring begins, and the end; shape (B + 1,), on the host.
        shifts: Of each track.
        track_width: Channels of a track; the last may have fewer.
        device: Of the tables.
    """

    def __init__(
        self, rings: NDArray[np.int64], *, shifts: Sequence[int], track_width: int, device: torch.device
    ) -> None:
        self.track_width = track_width
        self._rings = put(rings.astype(np.int32), device)
        self._shifts = put(np.array(shifts, np.int32), device)
        self._n = int(rings[-1])

    @cached_property
    def source(self) -> Tensor:
        """The position from which position t gets its update, per track; int32, shape (T, tracks)."""
        return self._table(self._shifts)

    @cached_property
    def target(self) -> Tensor:
        """The position to which the update of position p is added, per track; int32, shape (T, tracks)."""
        return self._table(-self._shifts)

    def _table(self, shifts: Tensor) -> Tensor:
        lengths = self._rings.diff()
        begins, lengths = (x.repeat_interleave(lengths, output_size=self._n) for x in (self._rings[:-1], lengths))
        places = torch.arange(self._n, dtype=torch.int32, device=begins.device) - begins
        return begins[:, None] + (places[:, None] + shifts) % lengths[:, None]


class Way(NamedTuple):
    """A method to compute a block.

    Args:
        forward: From the stream (T, C), weights, rotation and whether a backward pass follows, to the stream after
            the block and the saved values.
        backward: From the gradient (T, C), saved values, weights and rotation, to gradients of the stream and the
            four weights.
        hidden: H is padded to a multiple of this.
        channels: The weights' C is padded to a multiple of this.
    """

    forward: Callable[[Tensor, Weights, Turn, bool], tuple[Tensor, Tensor]]
    backward: Callable[[Tensor, Tensor, Weights, Turn], tuple[Tensor, ...]]
    hidden: int = 1
    channels: int = 1


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
        ConfigError: FINDNA_KERNELS names no way, or one that does not work on this GPU; or the stream of a Transformer
            is to be bf16.
    """
    if config.mixer == "transformer" and precision.stream == torch.bfloat16:
        raise ConfigError("the norms of a Transformer need a float32 residual stream: choose precision=bf16")
    wanted = os.environ.get(ENVIRONMENT, "") or "auto"
    if wanted not in ("auto", *WAYS, ROWS):
        raise ConfigError(f"{ENVIRONMENT}={wanted}: known are auto, {', '.join((*WAYS, ROWS))}")
    is_ours = config.mixer == "chordmixer" and not (dropout and is_training)
    if device.type not in ("cpu", "cuda") or precision.products not in TOLERANCE or not is_ours:
        return Choice("plain", {})
    names: tuple[str, ...] = (wanted,)
    if wanted == "auto":
        sought = FastestWay(capability_of(device), config.channels, config.hidden, is_training, precision.name, "")
        names = order(measured(), sought)
    if device.type == "cpu":  # which has no GPU methods
        return Choice(ROWS if names[0] == ROWS else "plain", {})
    refused: dict[str, str] = {}
    for name in names:
        plain = name == "plain"
        problem = "" if plain else _problem(name, config.channels, config.hidden, device, precision, is_training)
        if not problem:
            return Choice(name, refused)
        refused[name] = problem
    raise ConfigError(f"{ENVIRONMENT}={wanted} does not work on {device}: {refused[wanted]}")


@cache
def _problem(
    name: str, channels: int, hidden: int, device: torch.device, precision: Precision, is_training: bool
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
            errors = deviations(way, channels, hidden, device=device, precision=precision, is_training=is_training)
    except Exception as error:  # compilers, drivers and caches raise errors of many classes
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]
    wrong = [f"its {part} is off by {error:.2g} of its norm" for part, error in errors.items() if not error <= limit]
    return "; ".join(wrong)


def deviations(
    way: Way, channels: int, hidden: int, *, device: torch.device, precision: Precision, is_training: bool = True
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
    found, expected = (
        _one_block(each, h, grad, weights, turn, precision=precision, is_training=is_training) for each in (way, TORCH)
    )
    return {name: float((found[name] - value).norm() / value.norm()) for name, value in expected.items()}


def _one_block(
    way: Way, h: Tensor, grad: Tensor, weights: Weights, turn: Turn, *, precision: Precision, is_training: bool
) -> dict[str, Tensor]:
    """The update of a block, and all gradients, without the part of the residual connection."""
    with torch.set_grad_enabled(is_training):
        leaves = [tensor.clone().requires_grad_(is_training) for tensor in (h, *weights)]
        (padded,) = _padded([leaves[1:]], way, precision.products)
        out = _block(leaves[0], padded, turn, way)
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
    if name in ("plain", ROWS):
        multiple = LEADING if name == ROWS else ALIGNED
        return TORCH._replace(hidden=multiple, channels=multiple)
    if name == "compile":
        compiled = _torch_way(torch.compile(_mix, dynamic=True), torch.compile(_mix_back, dynamic=True))
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
        dropout: Fraction of the hidden layer and of the update that each block drops; plain torch computes such blocks.
    """
    rows = (codes[:, None] == torch.arange(len(ALPHABET), device=codes.device)).float()  # a blank is a zero row
    h = F.linear(rows if noise is None else rows + noise, stem.weight, stem.bias).to(precision.stream)
    states = [h] if 0 in depths else []
    padded = _padded(blocks, way, precision.products)
    for n_done, (weights, turn) in enumerate(zip(padded, turns, strict=True), start=1):
        h = _dropped(h, weights, turn, dropout) if dropout else _block(h, weights, turn, way)
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


def _block(h: Tensor, weights: Weights, turn: Turn, way: Way) -> Tensor:
    if torch.is_grad_enabled():
        return _Block.apply(h, *weights, turn, way)  # type: ignore[no-any-return, no-untyped-call]
    return way.forward(h, weights, turn, False)[0]


def _dropped(h: Tensor, weights: Weights, turn: Turn, dropout: float) -> Tensor:
    """The stream after a block with dropout; the backward pass computes the block again with the same masks."""

    def block(h: Tensor, *tensors: Tensor) -> Tensor:
        w1, b1, w2, b2 = tensors
        inner = F.dropout(F.gelu(torch.addmm(b1, _widened(h.to(w1.dtype), w1), w1.T)), dropout)
        z = F.dropout(torch.addmm(b2, inner, w2.T), dropout)
        return h + _rotated(z, turn.source, h.shape[1], turn.track_width)

    return checkpoint(block, h, *weights, use_reentrant=False)  # type: ignore[no-any-return]


class _Block(torch.autograd.Function):
    """One block, which saves only the values for its backward pass."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, turn: Turn, way: Way) -> Tensor:
        weights = Weights(w1, b1, w2, b2)
        out, saved = way.forward(h, weights, turn, True)
        ctx.save_for_backward(saved, *weights)
        ctx.turn, ctx.way = turn, way
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        saved, *weights = ctx.saved_tensors
        return *ctx.way.backward(grads[0].contiguous(), saved, Weights(*weights), ctx.turn), None, None


Mix = Callable[[Tensor, Weights, Tensor, int], tuple[Tensor, Tensor]]
MixBack = Callable[[Tensor, Tensor, Weights, Tensor, int], tuple[Tensor, ...]]


def _mix(h: Tensor, weights: Weights, source: Tensor, track_width: int) -> tuple[Tensor, Tensor]:
    """The stream after a block, and its input in the type of the products."""
    x = _widened(h.to(weights.w1.dtype), weights.w1)
    inner = F.gelu(torch.addmm(weights.b1, x, weights.w1.T))
    z = torch.addmm(weights.b2, inner, weights.w2.T)
    return h + _rotated(z, source, h.shape[1], track_width), x


def _mix_back(grad: Tensor, x: Tensor, weights: Weights, target: Tensor, track_width: int) -> tuple[Tensor, ...]:
    """Gradients of the stream and of the four weights; the hidden layer is computed again."""
    channels = grad.shape[1]
    dz = _widened(_rotated(grad, target, channels, track_width).to(x.dtype), weights.w1)
    pre = torch.addmm(weights.b1, x, weights.w1.T)
    dpre = torch.ops.aten.gelu_backward(dz @ weights.w2, pre)
    return grad + (dpre @ weights.w1)[:, :channels], dpre.T @ x, dpre.sum(0), dz.T @ F.gelu(pre), dz.sum(0)


def _widened(x: Tensor, w1: Tensor) -> Tensor:
    """Rows (T, C), padded with zeros to the columns of the padded weights."""
    n_more = w1.shape[1] - x.shape[1]
    return F.pad(x, (0, n_more)) if n_more else x


def _rotated(z: Tensor, table: Tensor, channels: int, track_width: int) -> Tensor:
    """Rows (T, C), in which each track comes from the position in the table."""
    n_tracks = table.shape[1]
    if channels == n_tracks * track_width:  # one index serves a whole track
        index = table.long()[:, :, None].expand(-1, -1, track_width)
        return z[:, :channels].reshape(len(z), n_tracks, track_width).gather(0, index).flatten(1)
    index = table.long()[:, torch.arange(channels, device=table.device) // track_width]
    return z.gather(0, index)


def _torch_way(mix: Mix, mix_back: MixBack) -> Way:
    def forward(h: Tensor, weights: Weights, turn: Turn, is_saved: bool) -> tuple[Tensor, Tensor]:
        return mix(h, weights, turn.source, turn.track_width)

    def backward(grad: Tensor, saved: Tensor, weights: Weights, turn: Turn) -> tuple[Tensor, ...]:
        return mix_back(grad, saved, weights, turn.target, turn.track_width)

    return Way(forward, backward)


TORCH = _torch_way(_mix, _mix_back)
"""The reference for the other methods before they are used."""
