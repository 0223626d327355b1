"""Pad and groups on a CPU with AMX: the time they save, and where it goes: `python tests/benchmarks/bench_amx.py`.

    python tests/benchmarks/bench_amx.py [SIZE [THREADS [ROUNDS]]]      # default: small 2 6

It times a forward pass and a pretraining step of SIZE in bf16, without and with the pad, in groups of 4,096 and 8,192
positions, in turn, and prints the least CPU time of ROUNDS in microseconds per base. Then it prints torch's profile of
both, and what GELU and products of float32 matrices in bf16 take. Without AMX, the pad only costs time.
"""

import sys
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from findna.benchmark.speed import _forward, _pretraining
from findna.nn import chordmixer, mixing
from findna.nn.chordmixer import ChordMixer
from findna.nn.device import Compute
from findna.nn.encoder import initialise
from findna.sizes import SIZES

N_FORWARD, N_STEP = 16, 8
"""Sequences of 1,000 bases in a forward pass and in a step."""


def cpu_time(run: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    began = time.process_time()
    run()
    return time.process_time() - began


def compare(runs: dict[str, tuple[int, Callable[[], object]]], n_rounds: int) -> None:
    """The least time of each run, by pad and group."""
    least: dict[tuple[str, bool, int], float] = {}
    for _ in range(n_rounds):
        for is_padded in (False, True):
            mixing.has_amx = lambda is_padded=is_padded: is_padded
            for group in (4096, 8192):
                chordmixer.GROUP = chordmixer.AMX_GROUP = group
                for name, (n, run) in runs.items():
                    key = name, is_padded, group
                    least[key] = min(least.get(key, 1e9), cpu_time(run) / (1000 * n))
    for (name, is_padded, group), seconds in sorted(least.items()):
        print(f"{name:18}{'padded' if is_padded else 'not padded':12}groups of {group}{seconds * 1e6:10.2f}")


def parts() -> None:
    """GELU alone and after a product, and products of float32 matrices in bf16; nanoseconds per hidden value."""
    n, channels, hidden = 2048, 160, 256
    x, weights, bias = torch.randn(n, channels), torch.randn(hidden, channels), torch.zeros(hidden)
    narrow, inner = [each.bfloat16() for each in (x, weights, bias)], torch.randn(n, hidden).bfloat16()
    packed = torch.ops.mkldnn._reorder_linear_weight(narrow[1], n)
    fused = torch.ops.mkldnn._linear_pointwise
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    for name, run in {
        "GELU": lambda: F.gelu(inner),
        "tanh GELU": lambda: F.gelu(inner, approximate="tanh"),
        "product": lambda: fused(narrow[0], packed, narrow[2], "none", [], ""),
        "product and GELU": lambda: fused(narrow[0], packed, narrow[2], "gelu", [], "none"),
        "product of float32": lambda: x @ weights.T,
    }.items():
        seconds = min(cpu_time(lambda run=run: [run() for _ in range(20)]) for _ in range(5)) / 20
        print(f"{name:30}{seconds / (n * hidden) * 1e9:8.2f}")


def main(size: str = "small", n_threads: str = "2", n_rounds: str = "6") -> None:
    """Print all of it."""
    torch.set_num_threads(int(n_threads))
    compute = Compute.pick("cpu", "bf16")
    network = initialise(ChordMixer(SIZES[size]), 0).for_inference(compute)
    step = _pretraining(size, compute, n_sequences=N_STEP).run
    runs = {
        "forward": (N_FORWARD, _forward(network, [1000] * N_FORWARD, compute)),
        "pretraining step": (N_STEP, step),
    }
    compare(runs, int(n_rounds))
    torch.set_num_threads(1)
    for name, (_, run) in runs.items():
        with profile(activities=[ProfilerActivity.CPU]) as found:
            run()
        print(f"\n{name}\n{found.key_averages().table(sort_by='self_cpu_time_total', row_limit=8)}")
    parts()


if __name__ == "__main__":
    main(*sys.argv[1:])
