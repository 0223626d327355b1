"""The blocks of a ChordMixer in plain torch, forward and backward, on packed batches with one ring per sequence.

Arrays here are channels first, (C, positions): a track is a few contiguous rows, and its rotation is two
slices of them.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from findna.nn.device import has_amx

MULTIPLE = 32
"""On a CPU with AMX, W1's columns, W2's rows and the positions are padded in bf16, to multiples of this.

The hidden states have the same bits, in less time. The multiple of positions is odd, because rows at powers of two
share lines of the cache. The pad is zero, never uninitialised memory: oneDNN multiplies it by zero, and NaN stays NaN.
"""

MIN_RUN = 30_000
"""Minimum values (channels x positions) in a run of equal rings for which slices are faster."""


class Run(NamedTuple):
    """Neighbouring rings of the same length, rotated together."""

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

    Runs of equal rings are rotated as slices; if most are short, an index moves the same values in fewer calls.

    Args:
        rings: Start of each ring, and the end; shape (B + 1,), on the host.
        channels: C.
        shifts: Of each track.
        track_width: Channels of a track; the last may have fewer.
        device: Of the hidden states.
    """

    def __init__(
        self,
        rings: NDArray[np.int64],
        *,
        channels: int,
        shifts: tuple[int, ...],
        track_width: int,
        device: torch.device | None = None,
    ) -> None:
        self._rings, self._runs, self._device = rings, ring_runs(rings), device
        self._tracks = [(slice(k * track_width, (k + 1) * track_width), shift) for k, shift in enumerate(shifts)]
        self.is_by_index = channels * int(rings[-1]) < MIN_RUN * len(self._runs)

    def moves(self, to: Tensor, of: Tensor, *, by: Callable[..., Any], back: bool = False) -> Callable[[], None]:
        """A function that moves the values of `of` to their places in `to` at each call.

        Args:
            to: Written to, shape (C, positions).
            of: Read, same shape.
            by: `torch._foreach_add_` or `torch._foreach_copy_`.
            back: Undo the rotation.
        """
        if not self.is_by_index:
            targets, sources = map(list, zip(*self._slices(to, of, back), strict=True))
            return lambda: by(targets, sources)
        targets, tracks = ([tensor[rows] for rows, _ in self._tracks] for tensor in (to, of))
        indices = list(self._indices(back))
        return lambda: by(targets, [track.index_select(1, i) for track, i in zip(tracks, indices, strict=True)])

    def _slices(self, to: Tensor, of: Tensor, back: bool) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield pairs of views: of `to`, and of the matching values of `of`."""
        for start, n_rings, length in self._runs:
            span = slice(start, start + n_rings * length)
            for rows, shift in self._tracks:
                target = to[rows, span].view(-1, n_rings, length)
                source = of[rows, span].view(-1, n_rings, length)
                turn = (-shift if back else shift) % length
                yield target[..., : length - turn], source[..., turn:]
                if turn:
                    yield target[..., length - turn :], source[..., :turn]

    def _indices(self, back: bool) -> Iterator[Tensor]:
        """For each track, the source of each position."""
        lengths = np.diff(self._rings)
        begins, lengths = np.repeat(self._rings[:-1], lengths), np.repeat(lengths, lengths)
        places = np.arange(self._rings[-1]) - begins
        for _, shift in self._tracks:
            index = begins + (places + (-shift if back else shift)) % lengths
            yield torch.from_numpy(index.astype(np.int32)).to(self._device)


class MlpWeights(NamedTuple):
    """Weights of a block. A bias is the last column of its matrix and is multiplied by a row of ones, which is faster.

    Args:
        w1: Shape (H, C + 1).
        w2: Shape (C, H + 1).
    """

    w1: Tensor
    w2: Tensor


def mix(
    h: Tensor,
    weights: Sequence[MlpWeights],
    rotations: Sequence[Rotation],
    *,
    products: torch.dtype,
    dropout: float = 0.0,
) -> Tensor:
    """The stream (C, positions) after some blocks.

        z[t] = W2 gelu(W1 h[t] + b1) + b2                       exact GELU
        h[t, c] := h[t, c] + z[(t + s(c)) mod L, c]

    Args:
        h: The stream before the blocks; it is not changed.
        weights: Of each block.
        rotations: Of each block.
        products: Type of the matrix products; the stream keeps its own.
        dropout: Dropout probability of hidden layer and update.
    """
    if not weights:
        return h
    cast = [MlpWeights(*(matrix.detach().to(products) for matrix in pair)) for pair in weights]
    if is_for_amx(products):
        cast = [MlpWeights(_padded(w1, columns=MULTIPLE), _padded(w2, rows=MULTIPLE)) for w1, w2 in cast]
    flat = [matrix for pair in weights for matrix in pair]
    return _Mix.apply(h, cast, rotations, dropout, *flat)  # type: ignore[no-any-return, no-untyped-call]


class _Mix(torch.autograd.Function):
    """All blocks in one function: they share their buffers, so the rotating views are made once.

    For the backward pass, each block saves its factors (x and inner) and its hidden layer before GELU (pre) in separate
    tensors, because glibc requests more than 32 MB from the kernel each time, page by page.
    """

    @staticmethod
    def forward(
        ctx: Any, h: Tensor, weights: Sequence[MlpWeights], rotations: Sequence[Rotation], dropout: float, *flat: Tensor
    ) -> Tensor:
        is_kept, (channels, n) = any(ctx.needs_input_grad), h.shape
        (hidden, n_rows), like = weights[0].w1.shape, weights[0].w1
        wide = _odd(n) if is_for_amx(like.dtype) else n
        stream = h.new_zeros(n_rows, wide)
        stream[:channels, :n], stream[channels] = h, 1
        z = like.new_empty(len(weights[0].w2), wide)
        update = z if z.dtype == h.dtype else h.new_empty(z.shape)
        to, of = stream[:channels, :n], update[:channels, :n]
        moves = {rotation: rotation.moves(to, of, by=torch._foreach_add_) for rotation in set(rotations)}
        kept: list[Tensor] = []
        masks: list[tuple[Tensor, Tensor]] = []
        for i, ((w1, w2), rotation) in enumerate(zip(weights, rotations, strict=True)):
            if is_kept or i == 0:
                x = stream if z.dtype == stream.dtype and not is_kept else like.new_empty(stream.shape)
                inner = like.new_empty(hidden + 1, wide)
                inner[-1] = 1
                pre = like.new_empty(hidden, wide) if is_kept else inner[:-1]
                kept += x, pre, inner
            torch.mm(w1, x.copy_(stream), out=pre)  # copy_ from itself does nothing
            torch.ops.aten.gelu.out(pre, out=inner[:-1])
            if dropout:
                masks.append((_mask(pre[:, :n], dropout), _mask(z[:channels, :n], dropout)))
                inner[:-1, :n].mul_(masks[i][0])
            torch.mm(w2, inner, out=z)
            if dropout:
                z[:channels, :n].mul_(masks[i][1])
            update.copy_(z)
            moves[rotation]()
        if is_kept:
            ctx.weights, ctx.rotations, ctx.masks, ctx.dtype = weights, rotations, masks, flat[0].dtype
            ctx.save_for_backward(*kept)
        return to

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        kept, (channels, n) = ctx.saved_tensors, grads[0].shape
        grad = grads[0].new_zeros(kept[0].shape)  # of the stream, in place
        grad[:channels, :n] = grads[0]
        dz, dx, slope = kept[0].new_zeros(len(ctx.weights[0].w2), kept[0].shape[1]), *map(torch.empty_like, kept[:2])
        to, of = dz[:channels, :n], grad[:channels, :n]
        moves = {r: r.moves(to, of, by=torch._foreach_copy_, back=True) for r in set(ctx.rotations)}
        found: list[Tensor] = []
        for i in reversed(range(len(ctx.weights))):
            (w1, w2), (x, pre, inner) = ctx.weights[i], kept[3 * i : 3 * i + 3]
            moves[ctx.rotations[i]]()
            if ctx.masks:
                to.mul_(ctx.masks[i][1])
            found.append(torch.mm(dz, inner.T)[:channels])  # of w2
            torch.mm(w2[:, :-1].T, dz, out=slope)
            if ctx.masks:
                slope[:, :n].mul_(ctx.masks[i][0])
            torch.ops.aten.gelu_backward.grad_input(slope, pre, grad_input=slope)
            found.append(torch.mm(slope, x.T)[:, : channels + 1])  # of w1
            grad.add_(torch.mm(w1.T, slope, out=dx))
        return of, None, None, None, *(matrix.to(ctx.dtype) for matrix in reversed(found))


def is_for_amx(dtype: torch.dtype) -> bool:
    """Whether AMX multiplies this type. In float32, a pad would change the bits and save no time."""
    return dtype == torch.bfloat16 and has_amx()


def _padded(matrix: Tensor, *, rows: int = 1, columns: int = 1) -> Tensor:
    """The matrix with zeros up to multiples of these numbers of rows and columns."""
    return F.pad(matrix, (0, -matrix.shape[1] % columns, 0, -len(matrix) % rows))


def _odd(n: int) -> int:
    """The next odd multiple of `MULTIPLE`."""
    return (-(-n // MULTIPLE) | 1) * MULTIPLE


def _mask(part: Tensor, dropout: float) -> Tensor:
    """Factors of dropout: 0, or the value that preserves the mean."""
    return part.new_empty(part.shape).bernoulli_(1 - dropout).div_(1 - dropout)
