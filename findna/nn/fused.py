"""One block as one Triton kernel, forward and backward; nothing imports this file but `findna.nn.kernels`, on a GPU.

A program computes both products for some positions: one part of the hidden layer at a time, which never leaves the
chip, while the update accumulates in float32. C is split into tiles of 64 or 32, and the last one is padded with zeros,
so 308 channels cost as much as 320 and 154 as much as 160. At the end, the program adds each value to the residual
stream at its rotated position. No other program writes there, so no atomic operation is needed, and the same batch
gives the same bits.
"""

import math
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from findna.nn.rows import Masks, Turn, Weights

TILE = 32
"""Weights are padded to a multiple of this many channels; see `tile_of`."""
HIDDEN = 64
"""Hidden units are padded to a multiple of this."""


class Tiling(NamedTuple):
    """The tiles of a kernel: positions, hidden units, warps, loads in flight."""

    positions: int
    hidden: int
    warps: int
    stages: int


LARGE = Tiling(128, 32, 8, 3), Tiling(128, 16, 8, 2)
"""For forward and backward in bf16, with 227 KB of shared memory per multiprocessor (capability 9 and 10).

Eight warps are two warpgroups, which need 128 rows: with 64 rows, both would compute the same products.
"""
SMALL = Tiling(32, 32, 4, 2), Tiling(32, 32, 4, 2)
"""The same with 99 KB."""
FLOAT32 = Tiling(16, 32, 4, 1), Tiling(16, 32, 4, 1)
"""For products in float32, on all GPUs."""


def tilings(device: torch.device, dtype: torch.dtype) -> tuple[Tiling, Tiling]:
    """Tiles of forward and backward; fixed, because other tiles could round differently."""
    if dtype == torch.float32:
        return FLOAT32
    is_large = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] in (9, 10)
    return LARGE if is_large else SMALL


def tile_of(width: int) -> int:
    """Channels per tile, for weights of this padded width.

    >>> tile_of(320), tile_of(160)
    (64, 32)
    """
    return 2 * TILE if width % (2 * TILE) == 0 else TILE


@triton.jit
def _own(base, rows, n, width: tl.constexpr, k: tl.constexpr, tile: tl.constexpr):
    """Offsets of the channels of tile k in these rows, and which of them exist."""
    columns = k * tile + tl.arange(0, tile)
    is_there = (rows < n)[:, None] & (columns < width)[None, :]
    return base + rows.to(tl.int64)[:, None] * width + columns[None, :], is_there


@triton.jit
def _again(base, rows, n, width: tl.constexpr, tile: tl.constexpr):
    """Load the tiles that this program has just written, so that the matrix units read them from shared memory."""
    tl.debug_barrier()
    tiles = ()
    for k in tl.static_range(width // tile):
        at, is_there = _own(base, rows, n, width, k, tile)
        tiles = tiles + (tl.load(at, mask=is_there, other=0.0),)
    return tiles


@triton.jit
def _turned(
    base,
    target,
    rows,
    n,
    channels: tl.constexpr,
    track_width: tl.constexpr,
    n_tracks: tl.constexpr,
    vector: tl.constexpr,
    k: tl.constexpr,
    tile: tl.constexpr,
):
    """Rotated offsets of the channels of tile k in these rows, and which of them exist."""
    columns = k * tile + tl.arange(0, tile)
    is_there = (rows < n)[:, None] & (columns < channels)[None, :]
    # The channels of a track are adjacent: one entry of the table serves `vector` of them.
    first = k * tile + vector * tl.arange(0, tile // vector)
    is_first = (rows < n)[:, None] & (first < channels)[None, :]
    entries = rows.to(tl.int64)[:, None] * n_tracks + (first // track_width)[None, :]
    to = tl.load(target + entries, mask=is_first, other=0)
    to = tl.broadcast_to(to[:, :, None], (to.shape[0], tile // vector, vector)).reshape(to.shape[0], tile)
    offsets = to.to(tl.int64) * channels + columns[None, :]
    return tl.max_contiguous(tl.multiple_of(offsets, (1, vector)), (1, vector)), is_there


APPROXIMATE = tl.constexpr(not triton.knobs.runtime.interpret)
"""Whether a program may use GPU instructions that the interpreter does not support."""


@triton.jit
def _exp2(x):
    """2^x by the special function unit, to 2 units in the last place; a result below 2^-126 is 0."""
    if APPROXIMATE:
        return tl.inline_asm_elementwise("ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], tl.float32, is_pure=True, pack=1)
    return tl.exp2(x)


@triton.jit
def _reciprocal(x):
    """1 / x by the special function unit, to 1 unit in the last place."""
    if APPROXIMATE:
        return tl.inline_asm_elementwise("rcp.approx.ftz.f32 $0, $1;", "=f,f", [x], tl.float32, is_pure=True, pack=1)
    return 1.0 / x


@triton.jit
def _normal(x):
    """Distribution function and exp(-x^2 / 2) of the normal distribution, for GELU and its derivative.

    Formula 26.2.17 of Abramowitz and Stegun: its error is below 1e-7, like that of float32, at 2/3 of the cost of erf.
    """
    bell = _exp2(-0.7213475204444817 * x * x)
    t = _reciprocal(1.0 + 0.23164190 * tl.abs(x))
    tail = -0.726576013 + t * 0.530702714
    tail = 0.710706871 + t * tail
    tail = -0.142248368 + t * tail
    tail = 0.127414796 + t * tail
    tail = bell * t * tail
    return tl.where(x < 0, tail, 1.0 - tail), bell


@triton.jit
def _kept(values, kept, scale, rows, n, columns, width: tl.constexpr):
    """What dropout leaves of these values, by a mask of this width."""
    is_there = (rows < n)[:, None] & (columns < width)[None, :]
    at = kept + rows.to(tl.int64)[:, None] * width + columns[None, :]
    return tl.where(tl.load(at, mask=is_there, other=0) != 0, values * scale, 0.0)


@triton.jit(do_not_specialize=["n"])
def forward_kernel(
    h,
    out,
    saved,
    w1,
    b1,
    w2,
    b2,
    kept_inner,
    kept_update,
    scale,
    target,
    n,
    channels: tl.constexpr,
    width: tl.constexpr,
    hidden: tl.constexpr,
    track_width: tl.constexpr,
    n_tracks: tl.constexpr,
    vector: tl.constexpr,
    is_saved: tl.constexpr,
    is_dropped: tl.constexpr,
    tile: tl.constexpr,
    positions: tl.constexpr,
    step: tl.constexpr,
):
    """The residual stream after a block, and the saved values for the backward pass, for some positions."""
    rows = tl.program_id(0) * positions + tl.arange(0, positions)
    dtype = w1.dtype.element_ty
    x = ()
    z = ()
    for k in tl.static_range(width // tile):
        at, is_there = _own(h, rows, n, channels, k, tile)
        x = x + (tl.load(at, mask=is_there, other=0.0).to(dtype),)
        z = z + (tl.zeros((positions, tile), tl.float32),)
        if is_saved:
            at, is_there = _own(saved, rows, n, width, k, tile)
            tl.store(at, x[k], mask=is_there)
    if is_saved:
        x = _again(saved, rows, n, width, tile)
    for start in range(0, hidden, step):
        units = start + tl.arange(0, step)
        inner = tl.zeros((positions, step), tl.float32)
        for k in tl.static_range(width // tile):
            columns = k * tile + tl.arange(0, tile)
            w = tl.load(w1 + units[:, None] * width + columns[None, :])
            inner = tl.dot(x[k], tl.trans(w), inner, input_precision="ieee")
        inner += tl.load(b1 + units).to(tl.float32)[None, :]
        inner = inner * _normal(inner)[0]
        if is_dropped:
            inner = _kept(inner, kept_inner, scale, rows, n, units, hidden)
        inner = inner.to(dtype)
        update = ()
        for k in tl.static_range(width // tile):
            columns = k * tile + tl.arange(0, tile)
            w = tl.load(w2 + columns[:, None] * hidden + units[None, :])
            update = update + (tl.dot(inner, tl.trans(w), z[k], input_precision="ieee"),)
        z = update
    for k in tl.static_range(width // tile):
        columns = k * tile + tl.arange(0, tile)
        bias = tl.load(b2 + columns).to(tl.float32)
        to, is_there = _turned(h, target, rows, n, channels, track_width, n_tracks, vector, k, tile)
        stream = tl.load(h + to, mask=is_there, other=0.0).to(tl.float32)
        value = z[k] + bias[None, :]
        if is_dropped:
            value = _kept(value, kept_update, scale, rows, n, columns, channels)
        tl.store(out + to, stream + value, mask=is_there)


@triton.jit(do_not_specialize=["n"])
def backward_kernel(
    grad,
    saved,
    dh,
    dz,
    inner,
    dpre,
    db1,
    db2,
    w1,
    b1,
    w2,
    kept_inner,
    kept_update,
    scale,
    target,
    n,
    channels: tl.constexpr,
    width: tl.constexpr,
    hidden: tl.constexpr,
    track_width: tl.constexpr,
    n_tracks: tl.constexpr,
    vector: tl.constexpr,
    is_dropped: tl.constexpr,
    tile: tl.constexpr,
    positions: tl.constexpr,
    step: tl.constexpr,
):
    """The gradient of the residual stream, and partial gradients of the weights, for some positions."""
    program = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(0) * positions + tl.arange(0, positions)
    dtype = w1.dtype.element_ty
    x = ()
    turned = ()
    total = ()
    for k in tl.static_range(width // tile):
        columns = k * tile + tl.arange(0, tile)
        at, is_there = _own(saved, rows, n, width, k, tile)
        x = x + (tl.load(at, mask=is_there, other=0.0),)
        to, is_there = _turned(grad, target, rows, n, channels, track_width, n_tracks, vector, k, tile)
        part = tl.load(grad + to, mask=is_there, other=0.0).to(tl.float32)
        if is_dropped:
            part = _kept(part, kept_update, scale, rows, n, columns, channels)
        tl.store(db2 + program * width + columns, tl.sum(part, axis=0))
        turned = turned + (part.to(dtype),)
        at, is_there = _own(dz, rows, n, width, k, tile)
        tl.store(at, turned[k], mask=is_there)
        total = total + (tl.zeros((positions, tile), tl.float32),)
    turned = _again(dz, rows, n, width, tile)
    for start in range(0, hidden, step):
        units = start + tl.arange(0, step)
        pre = tl.zeros((positions, step), tl.float32)
        da = tl.zeros((positions, step), tl.float32)
        weights = ()
        for k in tl.static_range(width // tile):
            columns = k * tile + tl.arange(0, tile)
            weights = weights + (tl.load(w1 + units[:, None] * width + columns[None, :]),)
            pre = tl.dot(x[k], tl.trans(weights[k]), pre, input_precision="ieee")
            w = tl.load(w2 + columns[:, None] * hidden + units[None, :])
            da = tl.dot(turned[k], w, da, input_precision="ieee")
        pre += tl.load(b1 + units).to(tl.float32)[None, :]
        share, bell = _normal(pre)
        cells = rows.to(tl.int64)[:, None] * hidden + units[None, :]
        value = pre * share
        if is_dropped:
            da = _kept(da, kept_inner, scale, rows, n, units, hidden)
            value = _kept(value, kept_inner, scale, rows, n, units, hidden)
        slope = da * (share + pre * 0.3989422804014327 * bell)
        tl.store(db1 + program * hidden + units, tl.sum(slope, axis=0))
        slope = slope.to(dtype)
        tl.store(inner + cells, value.to(dtype), mask=(rows < n)[:, None])
        tl.store(dpre + cells, slope, mask=(rows < n)[:, None])
        gathered = ()
        for k in tl.static_range(width // tile):
            gathered = gathered + (tl.dot(slope, weights[k], total[k], input_precision="ieee"),)
        total = gathered
    for k in tl.static_range(width // tile):
        at, is_there = _own(grad, rows, n, channels, k, tile)
        value = tl.load(at, mask=is_there, other=0.0).to(tl.float32) + total[k]
        at, is_there = _own(dh, rows, n, channels, k, tile)
        tl.store(at, value, mask=is_there)


def block_forward(
    h: Tensor, weights: Weights, turn: Turn, masks: Masks | None, is_saved: bool
) -> tuple[Tensor, Tensor]:
    """The stream after a block, (T, C), and h in the products' type, (T, W), for the backward pass.

    Args:
        h: The stream, contiguous, shape (T, C).
        weights: C padded to W, whole tiles; H to whole steps.
        turn: The rotation.
        masks: Of dropout.
        is_saved: Whether a backward pass follows; otherwise the second is empty.
    """
    tiling = tilings(h.device, weights.w1.dtype)[0]
    out = torch.empty_like(h)
    saved = weights.w1.new_empty(len(h) if is_saved else 0, weights.w1.shape[1])
    with torch.cuda.device_of(h):
        forward_kernel[(triton.cdiv(len(h), tiling.positions),)](
            h,
            out,
            saved,
            *weights,
            *_drop(masks, h),
            turn.target,
            len(h),
            is_saved=is_saved,
            is_dropped=masks is not None,
            **_constants(h, weights, turn, tiling),
        )
    return out, saved


def block_backward(
    grad: Tensor, saved: Tensor, weights: Weights, turn: Turn, masks: Masks | None
) -> tuple[Tensor, ...]:
    """Gradients of the stream before a block, (T, C), and of its weights in their shapes.

    The kernel computes the hidden layer again and writes the factors of the weights' gradients. These two gradients
    are large matrix products over all positions: torch computes them with the vendor's library.

    Args:
        grad: Gradient of the stream after the block, contiguous, shape (T, C).
        saved: From `block_forward`.
        weights: As there.
        turn: As there.
        masks: As there.
    """
    tiling = tilings(grad.device, weights.w1.dtype)[1]
    hidden, width = weights.w1.shape
    n_programs = triton.cdiv(len(grad), tiling.positions)
    dh, dz = torch.empty_like(grad), torch.empty_like(saved)
    inner, dpre = saved.new_empty(2, len(grad), hidden)
    db1, db2 = (grad.new_empty(n_programs, n, dtype=torch.float32) for n in (hidden, width))  # parts, added up below
    with torch.cuda.device_of(grad):
        backward_kernel[(n_programs,)](
            grad,
            saved,
            dh,
            dz,
            inner,
            dpre,
            db1,
            db2,
            weights.w1,
            weights.b1,
            weights.w2,
            *_drop(masks, grad),
            turn.target,
            len(grad),
            is_dropped=masks is not None,
            **_constants(grad, weights, turn, tiling),
        )
    dtype = weights.b1.dtype
    return dh, dpre.T @ saved, db1.sum(0).to(dtype), dz.T @ inner, db2.sum(0).to(dtype)


def _drop(masks: Masks | None, h: Tensor) -> tuple[Tensor, Tensor, float]:
    """Both masks and their scale; without dropout, a kernel does not read them."""
    return (masks.inner.view(torch.uint8), masks.update.view(torch.uint8), masks.scale) if masks else (h, h, 1.0)


def _constants(h: Tensor, weights: Weights, turn: Turn, tiling: Tiling) -> dict[str, int]:
    channels, (hidden, width) = h.shape[1], weights.w1.shape
    return {
        "channels": channels,
        "width": width,
        "hidden": hidden,
        "track_width": turn.track_width,
        "n_tracks": turn.target.shape[1],
        "vector": math.gcd(channels, turn.track_width, 4),
        "tile": tile_of(width),
        "positions": tiling.positions,
        "step": tiling.hidden,
        "num_warps": tiling.warps,
        "num_stages": tiling.stages,
    }
