"""An update of a fine-tuning, all weights, against the best matrix products of its shapes, in one run.

    python tests/benchmarks/bench_finetune.py --size small --threads 2 --json finetune.json

A ratio only: both are timed in turn, round after round, and the best round of each counts. Forward and backward
are three times the products of a forward. An update holds all that is not the network too: packing, pooling, head,
clipping and AdamW.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from bench_forward import products

from findna.config import SIZES, FinetuneConfig
from findna.data.datasets import corpus_of
from findna.data.labelled import LabelledSet
from findna.nn.chordmixer import ChordMixer, initialise
from findna.nn.device import has_native_bf16
from findna.train.tuner import Tuner


def labelled(lengths: np.ndarray) -> LabelledSet:
    """Random sequences of these lengths with random labels."""
    rng = np.random.default_rng(0)
    corpus = corpus_of(rng.integers(0, 4, size=int(n), dtype=np.uint8) for n in lengths)
    n = len(lengths)
    return LabelledSet(corpus, rng.integers(0, 2, n), ("a", "b"), "classification", ("",) * n, np.arange(n), {})


def measure(size: str, *, kind: str, n_bases: int, rounds: int, dropout: float) -> dict[str, float]:
    """Milliseconds of an update and of the products, and their ratio."""
    rng = np.random.default_rng(1)
    lengths = np.full(n_bases // 500, 500) if kind == "equal" else rng.integers(100, 1001, size=n_bases // 550)
    data = labelled(lengths)
    dtype = torch.bfloat16 if has_native_bf16(torch.device("cpu")) else torch.float32
    config = FinetuneConfig(batch_size=len(lengths), mixer_dropout=dropout)
    teacher = initialise(ChordMixer(SIZES[size]), 0)
    tuner = Tuner(config, teacher, train=data, valid=data, device=torch.device("cpu"), products=dtype)
    n_positions = int(lengths.sum() + 10 * len(lengths))
    best = {"update": float("inf"), "products": float("inf")}
    candidates = [products(teacher, n_positions, dtype, is_row_major=major) for major in (True, False)]
    for number in range(rounds):
        began = time.perf_counter()
        tuner.update(next(tuner.batches(number, number + 1)), step=number, rate=1e-4)
        best["update"] = min(best["update"], time.perf_counter() - began)
        for run in candidates:
            began = time.perf_counter()
            run()
            best["products"] = min(best["products"], 3 * (time.perf_counter() - began))
    return {f"{name}_ms": 1e3 * seconds for name, seconds in best.items()} | {
        "ratio": best["products"] / best["update"]
    }


def main() -> None:
    """Print and write the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="small", choices=SIZES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--n-bases", type=int, default=16000)
    parser.add_argument("--dropout", type=float, default=0.0, help="in the blocks")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found = {
        kind: measure(args.size, kind=kind, n_bases=args.n_bases, rounds=args.rounds, dropout=args.dropout)
        for kind in ("equal", "mixed")
    }
    text = json.dumps({"size": args.size, "threads": args.threads, "dropout": args.dropout, **found}, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
