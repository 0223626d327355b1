"""The read-out whose neighbours have the same class more often than those of 6-mer counts, in every class.

    python docs/tools/choose_neighbours.py others.csv.gz docs/results/read-outs/neighbours.json

The table is made by `docs/tools/elements.py`, of other sequences than those on which the choice is measured. One or two
pools after one or two blocks are compared. Vectors and neighbours are those of `findna benchmark teacher`: both strands,
standardised, ten nearest by cosine. The best has the largest smallest difference from 6-mers over the classes.
"""

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import findna
from findna.benchmark.baselines import kmer_counts
from findna.benchmark.near import same_class, standardised
from findna.benchmark.readout import ReadOut
from findna.config import ComputeConfig
from findna.data.labelled import LabelledSet, read_labelled
from findna.io.files import write_atomic
from findna.nn.device import Compute

POOLS = ("mean", "sd", "max", "min")
N_NEIGHBOURS, KEPT = 10, 20


def gram(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Products of all pairs of standardised vectors, shape (n, n)."""
    scaled = standardised(vectors)
    return np.asarray(scaled @ scaled.T)


def shares(products: NDArray[np.float32], labelled: LabelledSet) -> dict[str, float]:
    """The mean share of neighbours of the same class, by class."""
    norms = np.sqrt(np.diag(products))
    same = same_class(products / np.outer(norms, norms), labelled.labels, n_neighbours=N_NEIGHBOURS)
    return {name: round(float(same[labelled.labels == k].mean()), 4) for k, name in enumerate(labelled.classes)}


def one_or_two(n: int) -> Iterator[list[int]]:
    """All ways to take one or two of n."""
    yield from map(list, itertools.chain(itertools.combinations(range(n), 1), itertools.combinations(range(n), 2)))


def main(table: str, target: str) -> None:
    """Write the best read-outs, with their figures."""
    model, labelled = findna.load_model(), read_labelled([Path(table)])
    compute, depth = Compute.begin(ComputeConfig()), model.config.depth
    every = ReadOut(",".join(POOLS), ",".join(str(block + 1) for block in range(depth)))
    vectors = every.vectors(model.network.for_inference(compute), labelled.corpus, compute=compute)["both"]
    parts = vectors.reshape(len(vectors), len(POOLS), depth, -1)
    grams = np.array([[gram(parts[:, pool, block]) for block in range(depth)] for pool in range(len(POOLS))])
    kmers = shares(gram(kmer_counts(labelled.corpus).toarray().astype(np.float32)), labelled)

    found: list[dict[str, Any]] = []
    for pools in one_or_two(len(POOLS)):
        summed = grams[pools].sum(axis=0)
        for blocks in one_or_two(depth):
            names = {"pool": [POOLS[pool] for pool in pools], "blocks": [block + 1 for block in blocks]}
            found.append(names | {"same_class": shares(summed[blocks].sum(axis=0), labelled)})
    found.sort(key=lambda one: -min(one["same_class"][name] - kmers[name] for name in kmers))
    identity = {"name": model.name, "sha256": model.sha256}
    facts = {"model": identity, "sources": dict(labelled.sources), "n": len(labelled), "n_read_outs": len(found)}
    write_atomic(Path(target), json.dumps(facts | {"kmers": kmers, "best": found[:KEPT]}, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
