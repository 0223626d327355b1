"""The fused kernels of the base size cut in several ways, on a GPU: `python tests/benchmarks/bench_kernels.py`.

Each row is one block over 258,560 positions (256 windows of 1,000 bases) in bf16: milliseconds, and the share of the
device's rate on an 8192-cubed product, FLOPs counted as the model's (the backward pass computes the hidden layer again
and that does not count). The fastest rows belong into `LARGE` or `SMALL` of findna/nn/fused.py. A tiling that fails in
any way gets a row with its error, and one whose values are wrong says by how much.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from triton.testing import do_bench

from findna.nn import fused, kernels
from findna.nn.device import BF16
from findna.nn.fused import Tiling
from findna.nn.rows import Dropout, Turn, Weights
from findna.sizes import ModelConfig

CUDA = torch.device("cuda")
N_WINDOWS, LENGTH = 256, 1010
FORWARD = [
    Tiling(128, 32, 8, 2),
    Tiling(128, 32, 8, 3),
    Tiling(128, 64, 8, 1),
    Tiling(128, 64, 8, 2),
    Tiling(64, 32, 8, 2),
    Tiling(64, 64, 8, 2),
    Tiling(64, 32, 4, 2),
    Tiling(64, 64, 4, 1),
    Tiling(32, 32, 4, 2),
]
BACKWARD = [
    Tiling(128, 16, 8, 2),
    Tiling(128, 16, 8, 3),
    Tiling(64, 64, 8, 1),
    Tiling(64, 32, 4, 2),
    Tiling(128, 32, 8, 1),
    Tiling(32, 32, 4, 2),
    Tiling(32, 64, 4, 1),
]


def matrix_rate() -> float:
    """FLOP/s of an 8192-cubed product of random bf16 values."""
    a, b = (torch.randn(8192, 8192, device=CUDA).to(torch.bfloat16) for _ in range(2))
    return float(2 * 8192**3 / (do_bench(lambda: a @ b) / 1e3))


def report(title: str, tiling: Tiling, run: Callable[[], object], *, flops: float, rate: float) -> None:
    """Print a row, or how the tiling fails: in the compiler, for lack of room, or on the device."""
    config = ModelConfig()
    previous = fused.tilings
    fused.tilings = lambda device, dtype: (tiling, tiling)
    try:
        errors = kernels.deviations(
            kernels.find_way("triton"),
            config.channels,
            config.hidden,
            device=CUDA,
            precision=BF16,
            is_training=title == "backward",
        )
        milliseconds = do_bench(run)
        note = (
            "" if max(errors.values()) <= kernels.TOLERANCE[torch.bfloat16] else f"  OFF BY {max(errors.values()):.2g}"
        )
        print(f"{title:9}{tiling!s:70}{milliseconds:8.3f}{flops / (milliseconds / 1e3) / rate:8.2f}{note}")
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        print(f"{title:9}{tiling!s:70} fails: {reason}")
    finally:
        fused.tilings = previous


def main() -> None:
    """Print the matrix rate, then one row for each cut."""
    config, rate = ModelConfig(), matrix_rate()
    print(f"{torch.cuda.get_device_name()}: {rate / 1e12:.0f} TFLOP/s in an 8192-cubed bf16 product")
    n, width = N_WINDOWS * LENGTH, -(-config.channels // fused.TILE) * fused.TILE
    turn = Turn(np.arange(0, n + 1, LENGTH), shifts=config.shifts, track_width=config.track_width, device=CUDA)
    h = torch.randn(n, config.channels, device=CUDA)
    w1 = torch.randn(config.hidden, width, device=CUDA, dtype=torch.bfloat16) / 20
    w2 = torch.randn(width, config.hidden, device=CUDA, dtype=torch.bfloat16) / 20
    weights = Weights(w1, w1[:, 0].contiguous(), w2, w2[:, 0].contiguous())
    flops = 4.0 * config.channels * config.hidden * n
    for title, is_saved in (("forward", False), ("training", True)):  # with the second the input is kept in bf16 too
        for tiling in FORWARD:
            run = partial(fused.block_forward, h, weights, turn, None, is_saved)
            report(title, tiling, run, flops=flops, rate=rate)
    _, saved = fused.block_forward(h, weights, turn, None, True)
    for tiling in BACKWARD:
        run = partial(fused.block_backward, h, saved, weights, turn, None)
        report("backward", tiling, run, flops=2 * flops, rate=rate)
    dropout = Dropout(0.1, 0, config.hidden)
    masks = dropout.masks(h, weights)
    run = partial(dropout.masks, h, weights)
    print(f"draw the masks of dropout: {do_bench(run):.3f} ms, twice per block and step")
    report(
        "training", fused.LARGE[0], partial(fused.block_forward, h, weights, turn, masks, True), flops=flops, rate=rate
    )
    run = partial(fused.block_backward, h, saved, weights, turn, masks)
    report("backward", fused.LARGE[1], run, flops=2 * flops, rate=rate)


if __name__ == "__main__":
    main()
