"""The README's figure: promoters and other sequence, told apart by a linear probe on frozen vectors.

    findna embed docs/demo/promoters.fa.gz --strand both -o promoters.h5
    python docs/demo/figure.py promoters.h5 docs/demo/promoters.png

Left: two principal components of the standardised vectors. Right: what logistic regression says of sequences that it was
not fitted on (ten folds), with its AUROC. Needs `findna[bench]`.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import findna

COLOURS = {"other": "#94a3b8", "promoter": "#c2410c"}


def main(source: str, target: str) -> None:
    """Draw the figure of an embedding file whose names are `promoter` and `other`."""
    embeddings = findna.read_embeddings(source)
    x, names = embeddings.x, np.asarray(embeddings.obs["name"])
    is_promoter = names == "promoter"
    u, values, _ = np.linalg.svd(StandardScaler().fit_transform(x), full_matrices=False)
    share = values**2 / (values**2).sum()
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    folds = StratifiedKFold(10, shuffle=True, random_state=0)
    scores = cross_val_predict(probe, x, is_promoter, cv=folds, method="predict_proba")[:, 1]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.8), dpi=130)
    for name, colour in COLOURS.items():
        points = (u * values)[names == name]
        left.scatter(
            points[:, 0], points[:, 1], s=8, alpha=0.7, linewidths=0, color=colour, label=f"{name} ({len(points)})"
        )
        right.hist(scores[names == name], bins=np.linspace(0, 1, 26), alpha=0.7, color=colour, label=name)
    left.set(
        xlabel=f"PC 1 ({share[0]:.0%} of the variance)", ylabel=f"PC 2 ({share[1]:.0%})", title="vectors, unsupervised"
    )
    auroc = roc_auc_score(is_promoter, scores)
    right.set(
        xlabel="probability of promoter", ylabel="sequences", title=f"linear probe, held-out folds: AUROC {auroc:.2f}"
    )
    left.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
