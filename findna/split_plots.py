"""Figures of the predictions of a split: ROC, precision-recall, confusion matrix, calibration."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from findna.counts import counted
from findna.extras import need_sklearn
from findna.plots import BLUE, GREY, INK, one_figure, save_figure, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

N_BINS = 10
"""Number of bins of a calibration plot, of equal width."""

_MOST_CURVES = 10

Place = Literal["lower left", "lower right", "upper left", "upper right"]


def confusion_matrix(
    confusion: Sequence[Sequence[int]], path: Path, *, classes: Sequence[str], title: str = ""
) -> None:
    """Draw a confusion matrix: each row is a true class, shaded by its fractions, with counts in the cells.

    Args:
        confusion: Counts, rows are the true class, columns the predicted.
        path: The PNG file.
        classes: Their names.
        title: Above the figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    counts = np.asarray(confusion)  # (n_classes, n_classes)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = 2.4 + 0.55 * len(classes)
    figure, axes = one_figure(size + 0.9, size)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [shortened(name) for name in classes]
    is_wide = max(map(len, names)) > 3
    axes.set_xticks(range(len(names)), names, rotation=45 if is_wide else 0, ha="right" if is_wide else "center")
    axes.set_yticks(range(len(names)), names)
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if shares[row, column] > 0.6 else INK
        axes.text(column, row, f"{count:,}", ha="center", va="center", color=color, fontsize=8)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, label="fraction of the true class", fraction=0.046, pad=0.04)
    save_figure(figure, path)


def roc(
    labels: NDArray[Any], probabilities: NDArray[Any], path: Path, *, classes: Sequence[str], title: str = ""
) -> None:
    """Draw the ROC of each class against the rest (for two classes: of the second), with its area.

    Args:
        labels: Class index, shape (n,).
        probabilities: Shape (n, n_classes).
        path: The PNG file.
        classes: Their names; for more than ten, only thin lines and the mean area are shown.
        title: Above the figure.

    Raises:
        MissingExtraError: matplotlib or scikit-learn is not installed.
        OutputError: The file cannot be written.
    """
    need_sklearn("a figure")
    from sklearn.metrics import auc, roc_curve

    def curve(is_class: NDArray[np.bool_], scores: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], float]:
        false, true, _ = roc_curve(is_class, scores)
        return false, true, float(auc(false, true))

    figure, axes = one_figure(4.4, 4.2)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title=title)
    _curves(axes, curve, labels, probabilities, classes=classes, value="AUROC", places=("lower right", "upper left"))
    save_figure(figure, path)


def precision_recall(
    labels: NDArray[Any], probabilities: NDArray[Any], path: Path, *, classes: Sequence[str], title: str = ""
) -> None:
    """Draw precision by recall of each class against the rest (for two classes: of the second).

    The legend has the average precision and the number of sequences of each class. Arguments and errors: see `roc`.
    """
    need_sklearn("a figure")
    from sklearn.metrics import average_precision_score, precision_recall_curve

    def curve(is_class: NDArray[np.bool_], scores: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], float]:
        precision, recall, _ = precision_recall_curve(is_class, scores)
        return recall, precision, float(average_precision_score(is_class, scores))

    figure, axes = one_figure(4.4, 4.2)
    axes.set(xlabel="recall", ylabel="precision", title=title)
    _curves(
        axes,
        curve,
        labels,
        probabilities,
        classes=classes,
        value="average precision",
        places=("lower left", "upper right"),
    )
    save_figure(figure, path)


def _curves(
    axes: "Axes",
    curve: Callable[[NDArray[np.bool_], NDArray[Any]], tuple[NDArray[Any], NDArray[Any], float]],
    labels: NDArray[Any],
    probabilities: NDArray[Any],
    *,
    classes: Sequence[str],
    value: str,
    places: tuple[Place, Place],
) -> None:
    """One curve per class with some, but not all, sequences, and a legend with value and n.

    The legend is at the first of `places`, or at the second if low curves fill the first.
    """
    shown = [k for k in ([1] if len(classes) == 2 else range(len(classes))) if 0 < np.sum(labels == k) < len(labels)]
    values = []
    for k in shown:
        x, y, found = curve(labels == k, probabilities[:, k])
        values.append(found)
        of_two = "positive class " * (len(classes) == 2)
        name = f"{of_two}{shortened(classes[k])}: {found:.3f} (n = {np.sum(labels == k):,})"
        label = name if len(shown) <= _MOST_CURVES else None
        axes.plot(x, y, label=label, linewidth=1.4 if label else 0.6, color=BLUE if len(shown) == 1 else None)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    if shown:
        mean = f"{value} (mean {np.mean(values):.3f})" if len(shown) > 1 else value
        place = places[0] if np.mean(values) > 0.6 else places[1]
        axes.legend(loc=place, fontsize=8, title=mean, title_fontsize=8, facecolor="white", edgecolor="none")


def figure_paths(stem: Path) -> list[Path]:
    """The figures of a split: STEM.roc.png and so on."""
    return [stem.with_name(f"{stem.name}.{kind}.png") for kind in ("roc", "pr", "confusion", "calibration")]


def split_figures(
    labels: NDArray[Any], probabilities: NDArray[Any], stem: Path, *, classes: Sequence[str], title: str
) -> list[Path]:
    """Draw ROC, precision-recall, confusion matrix and calibration of a split, in `figure_paths`.

    Args:
        labels: Class index, shape (n,).
        probabilities: Shape (n, n_classes).
        stem: Path of the figures without extensions.
        classes: Their names.
        title: Above each figure, without the number of sequences.

    Raises:
        MissingExtraError: matplotlib or scikit-learn is not installed.
        OutputError: A file cannot be written.
    """
    title = f"{title}, {counted(len(labels), 'sequence')}"
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (labels, probabilities.argmax(1)), 1)
    paths = figure_paths(stem)
    roc(labels, probabilities, paths[0], classes=classes, title=title)
    precision_recall(labels, probabilities, paths[1], classes=classes, title=title)
    confusion_matrix(confusion.tolist(), paths[2], classes=classes, title=title)
    calibration(labels, probabilities, paths[3], title=title)
    return paths


def calibration(labels: NDArray[Any], probabilities: NDArray[Any], path: Path, *, title: str = "") -> None:
    """Draw accuracy by confidence (the probability of the predicted class); on the diagonal, they agree.

    Args:
        labels: Class index, shape (n,).
        probabilities: Shape (n, n_classes).
        path: The PNG file.
        title: Above the figure.

    Raises:
        MissingExtraError: matplotlib or scikit-learn is not installed.
        OutputError: The file cannot be written.
    """
    need_sklearn("a figure")
    from sklearn.calibration import calibration_curve

    figure, axes = one_figure(4.4, 4.2)

    confidence = np.clip(probabilities.max(1), 0, 1)
    is_right = probabilities.argmax(1) == labels
    rate, mean = calibration_curve(is_right, confidence, n_bins=N_BINS)
    edges = np.linspace(0, 1, N_BINS + 1)
    counts, _ = np.histogram(confidence, edges)
    axes.bar(
        edges[:-1],
        counts / counts.sum(),
        width=1 / N_BINS,
        align="edge",
        color="#dddddd",
        label="fraction of predictions",
    )
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    axes.plot(mean, rate, "o-", color=BLUE, markersize=4, label="accuracy")
    axes.set(xlabel="probability of the predicted class", ylabel="accuracy", title=title, aspect="equal")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.legend(frameon=False, loc="upper left", fontsize=8)
    save_figure(figure, path)
