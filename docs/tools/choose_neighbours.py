"""Which read-out finds the most neighbours of the same class: single pools, after one block or two.

    python docs/tools/choose_neighbours.py others.csv.gz docs/results/read-outs/neighbours.json

The table is that of `docs/tools/elements.py`, of other sequences than those on which the choice is measured. Vectors and
neighbours are those of `findna benchmark teacher`: both strands, standardised, ten nearest by cosine. The file has the
mean over the sequences of each class, the best read-out for promoters first, and that of 6-mer counts.
"""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import findna
from findna.benchmark.baselines import kmer_counts
from findna.benchmark.readout import ReadOut
from findna.benchmark.teacher import same_class
from findna.config import POOLS, ComputeConfig
from findna.data.labelled import LabelledSet, read_labelled
from findna.io.files import write_atomic
from findna.nn.device import Compute

POOLS_OF_BASES = [pool for pool in POOLS if pool != "cls"]
CLASS, N_NEIGHBOURS, KEPT = "promoter", 10, 20


def shares(vectors: NDArray[np.float32], labelled: LabelledSet) -> dict[str, float]:
    """The mean share of neighbours of the same class, by class."""
    same = same_class(vectors, labelled.labels, n_neighbours=N_NEIGHBOURS)
    return {name: round(float(same[labelled.labels == k].mean()), 4) for k, name in enumerate(labelled.classes)}


def main(table: str, target: str) -> None:
    """Write the best read-outs, with their figures."""
    model, labelled = findna.load_model(), read_labelled([Path(table)])
    compute = Compute.begin(ComputeConfig())
    encoder, depth = model.network.for_inference(compute), model.config.depth
    every = ",".join(map(str, range(1, depth + 1)))
    found: list[dict[str, Any]] = []
    for pool in POOLS_OF_BASES:
        vectors = ReadOut(pool, every).vectors(encoder, labelled.corpus, compute=compute)["both"]
        by_block = vectors.reshape(len(vectors), depth, -1)
        singles, pairs = itertools.combinations(range(depth), 1), itertools.combinations(range(depth), 2)
        for blocks in itertools.chain(singles, pairs):
            rows = by_block[:, list(blocks)].reshape(len(vectors), -1)
            found.append(
                {"pool": pool, "blocks": [block + 1 for block in blocks], "same_class": shares(rows, labelled)}
            )
    found.sort(key=lambda row: -row["same_class"][CLASS])
    identity = {"name": model.name, "sha256": model.sha256}
    facts = {"model": identity, "sources": dict(labelled.sources), "n": len(labelled), "n_read_outs": len(found)}
    facts["kmers"] = shares(kmer_counts(labelled.corpus).toarray().astype(np.float32), labelled)
    write_atomic(Path(target), json.dumps(facts | {"best": found[:KEPT]}, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
