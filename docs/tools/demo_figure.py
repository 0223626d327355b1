"""The README's figure: what the vectors do that random weights and 6-mer counts do not.

    python docs/tools/demo_figure.py docs/demo/promoters.png

Left: AUROC of logistic regression that tells promoters from other sequence, by the number of labelled sequences; mean
and standard deviation over 20 draws, measured on all sequences that were not drawn (docs/demo/README.md). Right: test
AUROC on the GUE sets in docs/results/gue that the model was fine-tuned on, beside its frozen vectors, 6-mer counts, the
same network with random weights (fine-tuned, and frozen), and the best of the quoted models. Needs `findna[bench]`.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import findna
from findna.benchmark.baselines import kmer_counts
from findna.benchmark.report import published
from findna.benchmark.results import read_result
from findna.data.datasets import corpus_of
from findna.errors import InputError
from findna.io.fasta import read_fasta
from findna.nn.encoder import initialise
from findna.nn.mixers import make_encoder
from findna.sequence import decode, encode

DEMO = Path(__file__).parents[1] / "demo"
RESULTS = Path(__file__).parents[1] / "results/gue"
COLOURS = {"findna": "#c2410c", "6-mer counts": "#475569", "random weights": "#94a3b8"}
MODES: dict[str, dict[str, Any]] = {
    "finetune": {"c": COLOURS["findna"], "zorder": 3, "label": "findna, fine-tuned"},
    "probe": {"facecolor": "white", "edgecolor": COLOURS["findna"], "label": "findna, frozen"},
    "kmer": {"c": COLOURS["6-mer counts"], "marker": "s", "label": "6-mer counts"},
    "random-finetune": {"c": COLOURS["random weights"], "label": "random weights, fine-tuned"},
    "random": {"facecolor": "white", "edgecolor": COLOURS["random weights"], "label": "random weights, frozen"},
}
N_LABELLED = (10, 20, 50, 100, 200, 400)
N_DRAWS = 20
ABOVE: dict[str, Any] = {
    "loc": "lower center",
    "bbox_to_anchor": (0.42, 1.1),
    "ncols": 3,
    "fontsize": 8,
    "frameon": False,
}

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


def draw_sets(axes: Axes) -> None:
    """Test AUROC of each GUE set that has a fine-tuned model: one row per set, one dot per method."""
    found = [read_result(path) for path in sorted(RESULTS.glob("*.json"))]
    means = {(one["task"], one["mode"]): one["mean"]["test"]["auroc"] for one in found}
    tasks = sorted((task for task, mode in means if mode == "finetune"), key=lambda task: means[task, "finetune"])
    rows = range(len(tasks))
    quoted = published()
    best = [max(one.value for one in quoted["gue", task, "auroc", "frozen"]) for task in tasks]
    axes.scatter(best, rows, marker="d", facecolor="white", edgecolor="black", label="best quoted model, frozen")
    for mode, style in MODES.items():
        shown = [(means[task, mode], row) for row, task in enumerate(tasks) if (task, mode) in means]
        axes.scatter([value for value, _ in shown], [row for _, row in shown], s=50, **style)
        print(style["label"], {tasks[row]: round(value, 3) for value, row in shown})
    axes.set_yticks(rows, [task.removeprefix("prom/") for task in tasks])
    axes.grid(axis="y", color="#e2e8f0")
    axes.set_axisbelow(True)
    axes.set(xlabel="test AUROC", title="complete sets of GUE")
    axes.legend(**ABOVE)


def main(target: str) -> None:
    """Draw the figure, and print its numbers."""
    records = [item for item in read_fasta(DEMO / "promoters.fa.gz") if not isinstance(item, InputError)]
    promoters = vectors_of([decode(record.codes) for record in records])
    is_promoter = np.array([record.name == "promoter" for record in records])
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.8), dpi=130)
    for name, colour in COLOURS.items():
        scores = learning_curve(promoters[name], is_promoter)
        mean, sd = scores.mean(axis=1), scores.std(axis=1)
        left.plot(N_LABELLED, mean, marker="o", color=colour, label=name)
        left.fill_between(N_LABELLED, mean - sd, mean + sd, color=colour, alpha=0.15, linewidth=0)
        print(name, "AUROC", dict(zip(N_LABELLED, mean.round(3).tolist(), strict=True)))
    draw_sets(right)
    left.set_xscale("log")
    left.set_xticks(N_LABELLED, [str(n) for n in N_LABELLED])
    left.minorticks_off()
    left.set(
        xlabel="labelled sequences",
        ylabel=f"AUROC on the others\n(mean and sd, {N_DRAWS} draws)",
        title="promoters from a few labels",
    )
    left.legend(**ABOVE)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
