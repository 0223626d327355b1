"""The blocks of a ChordMixer on rows of positions, (T, C), with little memory in training; as torch computes them.

In training, a block saves only its input, in the type of the products. The backward pass computes the hidden layer
again, so memory is a quarter of that of autograd. Masks of dropout are drawn by torch from one seed per block, in both
passes, so they are the same for all methods.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from findna.nn.device import put


class Weights(NamedTuple):
    """Weights of one block, in the type of the products; H and C may be padded with zeros."""

    w1: Tensor  # (H, C)
    b1: Tensor  # (H,)
    w2: Tensor  # (C, H)
    b2: Tensor  # (C,)


class Masks(NamedTuple):
    """The values of a block that dropout keeps; they are multiplied by `scale`.

    Args:
        inner: Of the hidden layer after GELU, shape (T, H), with H as in the weights.
        update: Of the update before its rotation, shape (T, C).
        scale: Preserves the mean.
    """

    inner: Tensor
    update: Tensor
    scale: float


class Dropout(NamedTuple):
    """The dropout of one block.

    Forward and backward pass draw the same masks from its seed, so no mask is stored, and every method gets the same.

    Args:
        share: Dropout probability.
        seed: Of its masks.
        hidden: H of the network.
    """

    share: float
    seed: int
    hidden: int

    def masks(self, h: Tensor, weights: Weights) -> Masks:
        """The masks for a stream, on its device."""
        generator = torch.Generator(h.device).manual_seed(self.seed)
        inner, update = (
            torch.empty(len(h), n, dtype=torch.bool, device=h.device).bernoulli_(1 - self.share, generator=generator)
            for n in (self.hidden, h.shape[1])
        )
        return Masks(widened(inner, len(weights.w1)), update, 1 / (1 - self.share))


class Turn:
    """The rotation of a batch's rings, as tables of positions.

    Args:
        rings: Start of each ring, and the end; shape (B + 1,), on the host.
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
        forward: From the stream (T, C), weights, rotation, masks of dropout and whether a backward pass follows, to the
            stream after the block and the saved values.
        backward: From the gradient (T, C), saved values, weights, rotation and masks, to gradients of the stream and
            the four weights.
        hidden: H is padded to a multiple of this.
        channels: The weights' C is padded to a multiple of this.
    """

    forward: Callable[[Tensor, Weights, Turn, Masks | None, bool], tuple[Tensor, Tensor]]
    backward: Callable[[Tensor, Tensor, Weights, Turn, Masks | None], tuple[Tensor, ...]]
    hidden: int = 1
    channels: int = 1


def block(h: Tensor, weights: Weights, turn: Turn, dropout: Dropout | None, way: Way) -> Tensor:
    """The stream after a block; dropout is for training only."""
    if torch.is_grad_enabled():
        return _Block.apply(h, *weights, turn, dropout, way)  # type: ignore[no-any-return, no-untyped-call]
    return way.forward(h, weights, turn, None, False)[0]


class _Block(torch.autograd.Function):
    """One block, which saves only the values for its backward pass."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, *rest: Any) -> Tensor:
        *tensors, turn, dropout, way = rest
        weights = Weights(*tensors)
        out, saved = way.forward(h, weights, turn, dropout and dropout.masks(h, weights), True)
        ctx.save_for_backward(saved, *weights)
        ctx.turn, ctx.dropout, ctx.way = turn, dropout, way
        return out  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (saved, *tensors), grad = ctx.saved_tensors, grads[0].contiguous()
        weights = Weights(*tensors)
        masks = ctx.dropout and ctx.dropout.masks(grad, weights)
        return *ctx.way.backward(grad, saved, weights, ctx.turn, masks), None, None, None


Mix = Callable[[Tensor, Weights, Tensor, int, Masks | None], tuple[Tensor, Tensor]]
MixBack = Callable[[Tensor, Tensor, Weights, Tensor, int, Masks | None], tuple[Tensor, ...]]


def mix(h: Tensor, weights: Weights, source: Tensor, track_width: int, masks: Masks | None) -> tuple[Tensor, Tensor]:
    """The stream after a block, and its input in the type of the products."""
    x, channels = widened(h.to(weights.w1.dtype), weights.w1.shape[1]), h.shape[1]
    inner = F.gelu(torch.addmm(weights.b1, x, weights.w1.T))
    if masks:
        inner = torch.where(masks.inner, inner * masks.scale, 0.0)
    z = torch.addmm(weights.b2, inner, weights.w2.T)
    if masks:
        z = torch.where(masks.update, z[:, :channels] * masks.scale, 0.0)
    return h + _rotated(z, source, channels, track_width), x


def mix_back(
    grad: Tensor, x: Tensor, weights: Weights, target: Tensor, track_width: int, masks: Masks | None
) -> tuple[Tensor, ...]:
    """Gradients of the stream and of the four weights; the hidden layer is computed again."""
    channels = grad.shape[1]
    dz = _rotated(grad, target, channels, track_width)
    if masks:
        dz = torch.where(masks.update, dz * masks.scale, 0.0)
    dz = widened(dz.to(x.dtype), weights.w1.shape[1])
    pre = torch.addmm(weights.b1, x, weights.w1.T)
    inner, slope = F.gelu(pre), dz @ weights.w2
    if masks:
        inner, slope = (torch.where(masks.inner, part * masks.scale, 0.0) for part in (inner, slope))
    dpre = torch.ops.aten.gelu_backward(slope, pre)
    return grad + (dpre @ weights.w1)[:, :channels], dpre.T @ x, dpre.sum(0), dz.T @ inner, dz.sum(0)


def widened(x: Tensor, width: int) -> Tensor:
    """Rows, padded with zeros to this width."""
    n_more = width - x.shape[1]
    return F.pad(x, (0, n_more)) if n_more else x


def _rotated(z: Tensor, table: Tensor, channels: int, track_width: int) -> Tensor:
    """Rows (T, C), in which each track comes from the position in the table."""
    n_tracks = table.shape[1]
    if channels == n_tracks * track_width:  # one index serves a whole track
        index = table.long()[:, :, None].expand(-1, -1, track_width)
        return z[:, :channels].reshape(len(z), n_tracks, track_width).gather(0, index).flatten(1)
    index = table.long()[:, torch.arange(channels, device=table.device) // track_width]
    return z.gather(0, index)


def torch_way(mix: Mix, mix_back: MixBack) -> Way:
    """The method that computes a block with these functions, which have the arguments of `mix` and `mix_back`."""

    def forward(h: Tensor, weights: Weights, turn: Turn, masks: Masks | None, is_saved: bool) -> tuple[Tensor, Tensor]:
        return mix(h, weights, turn.source, turn.track_width, masks)

    def backward(grad: Tensor, saved: Tensor, weights: Weights, turn: Turn, masks: Masks | None) -> tuple[Tensor, ...]:
        return mix_back(grad, saved, weights, turn.target, turn.track_width, masks)

    return Way(forward, backward)


TORCH = torch_way(mix, mix_back)
"""The reference for the other methods before they are used."""
