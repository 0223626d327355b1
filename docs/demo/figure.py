"""The README's figure: two principal components of promoters and other sequence.

findna embed docs/demo/promoters.fa.gz --strand both -o promoters.h5
python docs/demo/figure.py promoters.h5 docs/demo/promoters.png
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

from findna.io.reader import read_embeddings

COLOURS = {"other": "#9aa5b1", "promoter": "#c2410c"}


def main(source: str, target: str) -> None:
    """Draw the figure of an embedding file whose names are `promoter` and `other`."""
    x, obs, _ = read_embeddings(source)
    names = np.asarray(obs["name"])
    centred = (x - x.mean(axis=0)) / x.std(axis=0)
    u, values, _ = np.linalg.svd(centred, full_matrices=False)
    share = values**2 / (values**2).sum()
    figure, axes = plt.subplots(figsize=(6.4, 4.4), dpi=150)
    for name, colour in COLOURS.items():
        points = (u * values)[names == name]
        axes.scatter(
            points[:, 0], points[:, 1], s=9, alpha=0.75, linewidths=0, color=colour, label=f"{name} ({len(points)})"
        )
    axes.set_xlabel(f"PC 1 ({share[0]:.0%} of the variance)")
    axes.set_ylabel(f"PC 2 ({share[1]:.0%})")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
