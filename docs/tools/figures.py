"""The tutorial's figures, from the predictions of a test split whose BED files are named for their classes.

    findna classify docs/demo/repeats/test/*.bed --genome docs/demo/genome.fa.gz --task runs/repeats -o test.tsv
    python docs/tools/figures.py test.tsv docs/figures

The true class of a row is the name of the file that it came from. Needs `findna[bench]`.
"""

import csv
import sys
from pathlib import Path

import numpy as np

from findna.metrics import metrics_of
from findna.plots import calibration, confusion_matrix, roc


def main(source: str, target: str) -> None:
    """Draw confusion matrix, ROC and calibration of a table of `findna classify`."""
    with Path(source).open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    classes = [name.removeprefix("p_") for name in rows[0] if name.startswith("p_")]
    labels = np.array([classes.index(Path(row["source"]).stem) for row in rows])
    probabilities = np.array([[float(row[f"p_{name}"]) for name in classes] for row in rows])  # (rows, classes)
    figures = metrics_of(labels, probabilities, classes=classes, objective="classification")
    folder = Path(target)
    confusion_matrix(figures["confusion"], folder / "confusion.png", classes=classes)
    roc(labels, probabilities, folder / "roc.png", classes=classes)
    calibration(labels, probabilities, folder / "calibration.png")
    print(" ".join(f"{name} {figures[name]:.4f}" for name in ("accuracy", "macro_f1", "mcc", "auroc")))


if __name__ == "__main__":
    main(*sys.argv[1:])
