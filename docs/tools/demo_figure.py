"""The README's figure: what the vectors do that random weights and 6-mer counts do not.

    python docs/tools/demo_figure.py docs/demo/promoters.png

Left: AUROC of logistic regression that tells promoters from other sequence, by the number of labelled sequences; mean
and standard deviation over 20 draws, measured on all sequences that were not drawn. Right: of the ten sequences nearest
to each promoter, enhancer, repeat and unique piece, the fraction of its own class. Both are of real sequence that the
model was not trained on (docs/demo/README.md). Needs `findna[bench]`.
"""

import csv
import gzip
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import findna
from findna.benchmark.baselines import kmer_counts
from findna.data.datasets import corpus_of
from findna.io.fasta import read_fasta
from findna.nn.encoder import initialise
from findna.nn.mixers import make_encoder
from findna.sequence import decode, encode

DEMO = Path(__file__).parents[1] / "demo"
COLOURS = {"findna": "#c2410c", "6-mer counts": "#475569", "random weights": "#cbd5e1"}
N_LABELLED = (10, 20, 50, 100, 200, 400)
N_DRAWS = 20
N_NEIGHBOURS = 10

Vectors = dict[str, NDArray[np.float32]]


def vectors_of(sequences: list[str]) -> Vectors:
    """Vectors of both strands by the shipped model and by a network of its size with random weights; 6-mer counts."""
    model = findna.load_model()
    random = replace(model, network=initialise(make_encoder(model.config), 0).eval().requires_grad_(False))
    return {
        "findna": findna.embed(sequences, model=model, strand="both"),
        "6-mer counts": kmer_counts(corpus_of(encode(text)[0] for text in sequences)).toarray(),
        "random weights": findna.embed(sequences, model=random, strand="both"),
    }


def learning_curve(x: NDArray[np.float32], is_promoter: NDArray[np.bool_]) -> NDArray[np.float64]:
    """AUROC by number of labelled sequences and draw, shape (len(N_LABELLED), N_DRAWS)."""
    scores = np.empty((len(N_LABELLED), N_DRAWS))
    for row, n in enumerate(N_LABELLED):
        draws = StratifiedShuffleSplit(N_DRAWS, train_size=n, random_state=0)
        for column, (train, test) in enumerate(draws.split(x, is_promoter)):
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
            probe.fit(x[train], is_promoter[train])
            scores[row, column] = roc_auc_score(is_promoter[test], probe.decision_function(x[test]))
    return scores


def neighbour_share(x: NDArray[np.float32], classes: NDArray[np.str_]) -> dict[str, float]:
    """Of the nearest sequences of each class's members, by cosine, the fraction of the same class."""
    unit = StandardScaler().fit_transform(x)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    nearest = np.argsort(-cosine, axis=1)[:, :N_NEIGHBOURS]
    same = (classes[nearest] == classes[:, None]).mean(axis=1)
    return {name: float(same[classes == name].mean()) for name in sorted(set(classes.tolist()))}


def main(target: str) -> None:
    """Draw the figure, and print its numbers."""
    records = list(read_fasta(DEMO / "promoters.fa.gz"))
    promoters = vectors_of([decode(record.codes) for record in records])
    is_promoter = np.array([record.name == "promoter" for record in records])
    with gzip.open(DEMO / "elements.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    elements, classes = vectors_of([row["sequence"] for row in rows]), np.array([row["label"] for row in rows])
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.8), dpi=130)
    width = 0.26
    for place, (name, colour) in enumerate(COLOURS.items()):
        scores = learning_curve(promoters[name], is_promoter)
        mean, sd = scores.mean(axis=1), scores.std(axis=1)
        left.plot(N_LABELLED, mean, marker="o", color=colour, label=name)
        left.fill_between(N_LABELLED, mean - sd, mean + sd, color=colour, alpha=0.15, linewidth=0)
        shares = neighbour_share(elements[name], classes)
        right.bar(np.arange(len(shares)) + (place - 1) * width, list(shares.values()), width, color=colour, label=name)
        right.set_xticks(range(len(shares)), list(shares))
        print(name, "AUROC", dict(zip(N_LABELLED, mean.round(3).tolist(), strict=True)), "neighbours", shares)
    left.set_xscale("log")
    left.set_xticks(N_LABELLED, [str(n) for n in N_LABELLED])
    left.minorticks_off()
    left.set(xlabel="labelled sequences", ylabel="AUROC on the others", title="promoters from a few labels")
    right.set(ylabel="nearest ten of the same class", title="neighbours, no labels")
    left.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
