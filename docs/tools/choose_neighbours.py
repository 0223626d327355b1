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
from findna.benchmark.readout import ReadOut
from findna.config import ComputeConfig
from findna.data.labelled import LabelledSet, read_labelled
from findna.io.files import write_atomic
from findna.nn.device import Compute

POOLS = ("mean", "sd", "max", "min")
N_NEIGHBOURS, KEPT = 10, 20


def gram(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Products of all pairs of standardised vectors, shape (n, n)."""
    centred = vectors - vectors.mean(axis=0)
    scaled = centred / np.maximum(centred.std(axis=0), 1e-12)
    return np.asarray(scaled @ scaled.T)


def shares(products: NDArray[np.float32], labelled: LabelledSet) -> NDArray[np.float64]:
    """The mean share of neighbours of the same class, for each class."""
    norms = np.sqrt(np.diag(products))
    cosines = products / np.outer(norms, norms)
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argpartition(-cosines, N_NEIGHBOURS, axis=1)[:, :N_NEIGHBOURS]
    same = (labelled.labels[nearest] == labelled.labels[:, None]).mean(axis=1)
    return np.array([same[labelled.labels == k].mean() for k in range(len(labelled.classes))])


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

    def row(**facts: Any) -> dict[str, Any]:
        return facts | {"same_class": dict(zip(labelled.classes, facts["same_class"].round(4).tolist(), strict=True))}

    found = []
    for pools in one_or_two(len(POOLS)):
        summed = grams[pools].sum(axis=0)
        for blocks in one_or_two(depth):
            names = {"pool": [POOLS[pool] for pool in pools], "blocks": [block + 1 for block in blocks]}
            found.append(row(**names, same_class=shares(summed[blocks].sum(axis=0), labelled)))
    reference = row(same_class=kmers)["same_class"]
    found.sort(key=lambda one: -min(one["same_class"][name] - reference[name] for name in reference))
    identity = {"name": model.name, "sha256": model.sha256}
    facts = {"model": identity, "sources": dict(labelled.sources), "n": len(labelled), "n_read_outs": len(found)}
    write_atomic(Path(target), json.dumps(facts | {"kmers": reference, "best": found[:KEPT]}, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
