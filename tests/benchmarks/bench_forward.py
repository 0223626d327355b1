"""Forward of the network against a naive one and against the best matrix products of its shapes, in one run.

    python tests/benchmarks/bench_forward.py --size small --threads 2 --json forward.json

Ratios only: every variant is timed in turn, round after round, and its best round counts. `naive` is the same
network row by row in float32, with torch.roll and cat, 8 sequences at a time; `products` are the two matrix
products of a block, nothing else, the better of both layouts.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from findna.config import SIZES
from findna.data.batch import Batch, pack
from findna.nn.chordmixer import ChordMixer, initialise
from findna.nn.device import has_native_bf16
from findna.sequence import BLANK


def naive_forward(network: ChordMixer, codes: Tensor) -> Tensor:
    """Hidden states of sequences of one length, codes (B, L), as one would write the equations down."""
    config = network.config
    one_hot = F.one_hot(codes.long(), BLANK + 1)[..., :BLANK].float()
    h = network.stem(one_hot)  # (B, L, C)
    for block in network.blocks:
        z = block.fc2(F.gelu(block.fc1(h)))
        tracks = z.split(config.track_width, dim=-1)
        h = h + torch.cat(
            [track if not s else torch.roll(track, -s, dims=1) for track, s in zip(tracks, config.shifts, strict=True)],
            dim=-1,
        )
    return h


def products(network: ChordMixer, n_positions: int, dtype: torch.dtype, *, is_row_major: bool) -> Callable[[], None]:
    """A function that runs the matrix products of all blocks over as many positions, 8,192 at a time."""
    config, n = network.config, min(n_positions, 8192)
    w1 = torch.randn(config.hidden, config.channels).to(dtype)
    w2 = torch.randn(config.channels, config.hidden).to(dtype)
    h, inner = torch.randn(config.channels, n).to(dtype), torch.randn(config.hidden, n).to(dtype)
    if is_row_major:
        h, inner = h.T.contiguous(), inner.T.contiguous()
    n_rounds = len(network.blocks) * n_positions / n

    def run() -> None:
        for _ in range(round(n_rounds)):
            if is_row_major:
                F.linear(h, w1)
                F.linear(inner, w2)
            else:
                torch.mm(w1, h)
                torch.mm(w2, inner)

    return run


def batch_of(lengths: Any, config: Any) -> Batch:
    """Random sequences of these lengths."""
    rng = np.random.default_rng(0)
    return pack(
        [rng.integers(0, 4, size=int(n), dtype=np.uint8) for n in lengths], n_class_tokens=config.n_class_tokens
    )


def measure(size: str, *, n_sequences: int, rounds: int) -> dict[str, Any]:
    """Seconds a base and ratios of one size."""
    network = initialise(ChordMixer(SIZES[size]), 0).eval()
    equal = batch_of([1000] * n_sequences, network.config)
    rng = np.random.default_rng(1)
    lengths = rng.integers(100, 1001, size=4 * n_sequences)
    lengths = lengths[np.cumsum(lengths) <= 1000 * n_sequences]
    mixed = batch_of(lengths, network.config)
    types = {"fp32": torch.float32, "bf16": torch.bfloat16}
    networks = {
        kind: initialise(ChordMixer(SIZES[size]), 0).eval().cast_products(dtype) for kind, dtype in types.items()
    }
    rows = torch.from_numpy(equal.codes).reshape(n_sequences, -1)

    def ours(kind: str, batch: Batch) -> Callable[[], object]:
        codes = torch.from_numpy(batch.codes)
        return lambda: networks[kind](codes, batch.rings, products=types[kind])

    runs: dict[str, tuple[Callable[[], object], int]] = {
        "naive fp32": (lambda: [naive_forward(network, part) for part in rows.split(8)], 1000 * n_sequences)
    }
    for kind, dtype in types.items():
        runs[f"ours {kind}"] = (ours(kind, equal), 1000 * n_sequences)
        runs[f"ours {kind} mixed"] = (ours(kind, mixed), int(lengths.sum()))
        for layout in ("rows", "columns"):
            run = products(network, len(equal.codes), dtype, is_row_major=layout == "rows")
            runs[f"products {kind} {layout}"] = (run, 1000 * n_sequences)

    best = dict.fromkeys(runs, float("inf"))
    with torch.inference_mode():
        difference = networks["fp32"](torch.from_numpy(equal.codes), equal.rings) - naive_forward(
            network, rows
        ).flatten(0, 1)
        assert difference.abs().max() < 1e-3, "the naive forward computes something else"
        for _ in range(rounds):
            for name, (run, n_bases) in runs.items():
                began = time.perf_counter()
                run()
                best[name] = min(best[name], (time.perf_counter() - began) / n_bases)
    figures: dict[str, Any] = {"size": size}
    for kind in types:
        limit = min(best[f"products {kind} rows"], best[f"products {kind} columns"])
        figures |= {
            f"{kind}: times naive fp32": best["naive fp32"] / best[f"ours {kind}"],
            f"{kind}: share of products": limit / best[f"ours {kind}"],
            f"{kind}: share of products, mixed": limit / best[f"ours {kind} mixed"],
            f"{kind}: mixed over equal lengths": best[f"ours {kind}"] / best[f"ours {kind} mixed"],
            f"{kind}: bases a second": 1 / best[f"ours {kind}"],
            f"{kind}: products GFLOP/s": 2e-9 * SIZES[size].n_parameters / limit,
        }
    return figures


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", nargs="+", default=["tiny", "small"], choices=list(SIZES))
    parser.add_argument("--n-sequences", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    native = has_native_bf16(torch.device("cpu"))
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, native bf16: {'yes' if native else 'no'}")
    tables = [measure(size, n_sequences=args.n_sequences, rounds=args.rounds) for size in args.size]
    for name in tables[0]:
        cells = [f"{value:>12}" if isinstance(value, str) else f"{value:12,.2f}" for value in (t[name] for t in tables)]
        print(f"{name:34}" + "".join(cells))
    if args.json:
        report = {"native_bf16": native, "threads": torch.get_num_threads(), "figures": tables}
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
