"""Frozen vectors under a linear probe: a model beside the same network with random weights. Not run by pytest.

    python tests/benchmarks/bench_probe.py --data gue --model findna-small --json probe.json

DIR holds folders with train.csv[.gz], dev.csv[.gz] and test.csv[.gz] (`sequence,label`). The probe is logistic
regression on standardised mean vectors, its C chosen on dev; AUROC (one against rest, macro) on test, read once.
"""

import argparse
import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from findna.config import EmbedConfig
from findna.embed import Embedder
from findna.models.store import DEFAULT, load_model
from findna.nn.chordmixer import ChordMixer, initialise
from findna.nn.device import pick_device, pick_products
from findna.record import Record
from findna.sequence import encode


def read_split(folder: Path, split: str, limit: int, seed: int) -> tuple[list[Record], np.ndarray]:
    path = next(folder.glob(f"{split}.csv*"))
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    if limit and len(rows) > limit:
        rows = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))[:limit]]
    records = [Record(str(i), *encode(row["sequence"]), i, str(path)) for i, row in enumerate(rows)]
    return records, np.array([int(row["label"]) for row in rows])


def vectors(network: ChordMixer, records: list[Record], config: EmbedConfig) -> np.ndarray:
    device = pick_device()
    embedder = Embedder(network, config, device=device, products=pick_products("auto", device))
    return np.concatenate([rows.x for rows in embedder.embed(records)])


def auroc(probe: object, x: np.ndarray, y: np.ndarray) -> float:
    probabilities = probe.predict_proba(x)  # type: ignore[attr-defined]
    if probabilities.shape[1] == 2:
        return float(roc_auc_score(y, probabilities[:, 1]))
    return float(roc_auc_score(y, probabilities, multi_class="ovr"))


def probe(splits: dict[str, tuple[np.ndarray, np.ndarray]]) -> float:
    best, best_dev = None, -1.0
    for c in (0.001, 0.01, 0.1, 1.0):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=500))
        model.fit(*splits["train"])
        if (dev := auroc(model, *splits["dev"])) > best_dev:
            best, best_dev = model, dev
    return auroc(best, *splits["test"])


def networks(name: str, n_random: int) -> Iterator[tuple[str, ChordMixer]]:
    model = load_model(name)
    yield "model", model.network
    for seed in range(n_random):
        yield f"random {seed}", initialise(ChordMixer(model.config), 1000 + seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=[])
    parser.add_argument("--model", default=DEFAULT)
    parser.add_argument("--max-train", type=int, default=0, help="rows of the training split, 0 is all")
    parser.add_argument("--max-test", type=int, default=0)
    parser.add_argument("--random", type=int, default=1, help="how many random networks")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--pool", default="mean")
    parser.add_argument("--strand", default="bed")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    tasks = args.tasks or sorted(str(p.parent.relative_to(args.data)) for p in args.data.rglob("train.csv*"))
    limits = {"train": args.max_train, "dev": args.max_test, "test": args.max_test}
    config = EmbedConfig(pool=args.pool, strand=args.strand)
    results = []
    for task in tasks:
        read = {split: read_split(args.data / task, split, limit, seed=0) for split, limit in limits.items()}
        scores = {}
        for name, network in networks(args.model, args.random):
            scores[name] = probe({s: (vectors(network, records, config), y) for s, (records, y) in read.items()})
        random = [score for name, score in scores.items() if name != "model"]
        result = {"task": task, "model": scores["model"], "random": random}
        results.append(result | {"n": {split: len(y) for split, (_, y) in read.items()}})
        shown = " ".join(f"{score:.4f}" for score in random)
        print(f"| {task} | {scores['model']:.4f} | {shown} |", flush=True)
    if args.json:
        report = {"model_sha256": load_model(args.model).sha256, "limits": limits, "results": results}
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
