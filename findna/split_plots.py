"""Figures of the predictions of a split: ROC, precision-recall, confusion matrix, calibration."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from findna.counts import counted
from findna.extras import need_sklearn
from findna.plots import BLUE, GREY, one_figure, save_figure, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

N_BINS = 10
"""Number of bins of a calibration plot, of equal width."""

_MOST_CURVES = 10
_DARK = 0.72
"""On a cell with a larger fraction, white text has more contrast than black. At this fraction, both have a contrast of
at least 4.5."""

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
        MissingExtraError: matplotlib or scikit-learn is not installed.
        OutputError: The file cannot be written.
    """
    need_sklearn("a figure")
    from sklearn.metrics import ConfusionMatrixDisplay

    counts = np.asarray(confusion)  # (n_classes, n_classes)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = 2.4 + 0.55 * len(classes)
    figure, axes = one_figure(size + 0.9, size)
    names = [shortened(name) for name in classes]
    drawn = ConfusionMatrixDisplay(shares, display_labels=names)
    direction = "vertical" if max(map(len, names)) > 3 else "horizontal"
    drawn.plot(ax=axes, cmap="Blues", colorbar=False, xticks_rotation=direction, im_kw={"vmin": 0, "vmax": 1})
    for text, count, share in zip(drawn.text_.flat, counts.flat, shares.flat, strict=True):
        text.set(text=f"{count:,}", fontsize=10, color="white" if share > _DARK else "black")
    axes.set(xlabel="predicted", ylabel="true", title=title)
    figure.colorbar(drawn.im_, ax=axes, label="fraction of the true class", fraction=0.046, pad=0.04)
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
    from sklearn.metrics import RocCurveDisplay, roc_auc_score

    figure, axes = one_figure(4.4, 4.2)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    values = _curves(axes, RocCurveDisplay, roc_auc_score, labels, probabilities, classes)
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title=title)
    _legend(axes, values, "AUROC", places=("lower right", "upper left"))
    save_figure(figure, path)


def precision_recall(
    labels: NDArray[Any], probabilities: NDArray[Any], path: Path, *, classes: Sequence[str], title: str = ""
) -> None:
    """Draw precision by recall of each class against the rest (for two classes: of the second).

    The legend has the average precision and the number of sequences of each class. Arguments and errors: see `roc`.
    """
    need_sklearn("a figure")
    from sklearn.metrics import PrecisionRecallDisplay, average_precision_score

    figure, axes = one_figure(4.4, 4.2)
    values = _curves(axes, PrecisionRecallDisplay, average_precision_score, labels, probabilities, classes)
    axes.set(xlabel="recall", ylabel="precision", title=title)
    _legend(axes, values, "average precision", places=("lower left", "upper right"))
    save_figure(figure, path)


def _curves(
    axes: "Axes", display: Any, score: Any, labels: NDArray[Any], probabilities: NDArray[Any], classes: Sequence[str]
) -> list[float]:
    """Draw and score the curve of each class that has one."""
    shown = _with_curve(labels, classes)
    values = [float(score(labels == k, probabilities[:, k])) for k in shown]
    for k, value in zip(shown, values, strict=True):
        of_two = "positive class " * (len(classes) == 2)
        name = f"{of_two}{shortened(classes[k])}: {value:.3f} (n = {np.sum(labels == k):,})"
        is_named = len(shown) <= _MOST_CURVES
        line = display.from_predictions(labels == k, probabilities[:, k], ax=axes).line_
        line.set(label=name if is_named else None, linewidth=1.4 if is_named else 0.6)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    return values


def _with_curve(labels: NDArray[Any], classes: Sequence[str]) -> list[int]:
    """The classes (of two: the second) with some, but not all, sequences."""
    return [k for k in ([1] if len(classes) == 2 else range(len(classes))) if 0 < np.sum(labels == k) < len(labels)]


def _legend(axes: "Axes", values: list[float], name: str, *, places: tuple[Place, Place]) -> None:
    """Add a legend with the mean of the values at the first place, or at the second if low curves fill the first."""
    if values:
        title = f"{name} (mean {np.mean(values):.3f})" if len(values) > 1 else name
        place = places[int(np.mean(values) <= 0.6)]
        drawn = axes.get_legend_handles_labels()  # none with many classes
        axes.legend(*drawn, loc=place, fontsize=8, title=title, title_fontsize=8, facecolor="white", edgecolor="none")


def figure_paths(stem: Path) -> list[Path]:
    """The figures of a split: STEM.roc.png and so on."""
    return [stem.with_name(f"{stem.name}.{kind}.png") for kind in ("roc", "pr", "confusion", "calibration")]


def split_figures(
    labels: NDArray[Any], probabilities: NDArray[Any], stem: Path, *, classes: Sequence[str], title: str
) -> list[Path]:
    """Draw ROC, precision-recall, confusion matrix and calibration of a split, in `figure_paths`; returns those drawn.

    Labels of one class have no ROC and no precision-recall figure.

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
    has_curves = bool(_with_curve(labels, classes))
    if has_curves:
        roc(labels, probabilities, paths[0], classes=classes, title=title)
        precision_recall(labels, probabilities, paths[1], classes=classes, title=title)
    confusion_matrix(confusion.tolist(), paths[2], classes=classes, title=title)
    calibration(labels, probabilities, paths[3], title=title)
    return paths if has_curves else paths[2:]


def calibration(labels: NDArray[Any], probabilities: NDArray[Any], path: Path, *, title: str = "") -> None:
    """Draw accuracy by confidence (the probability of the predicted class); on the diagonal, they agree.

    Arguments and errors: see `roc`.
    """
    need_sklearn("a figure")
    from sklearn.calibration import CalibrationDisplay

    figure, axes = one_figure(4.4, 4.2)
    confidence = np.clip(probabilities.max(1), 0, 1)
    edges = np.linspace(0, 1, N_BINS + 1)
    counts, _ = np.histogram(confidence, edges)
    shares = counts / counts.sum()
    axes.bar(edges[:-1], shares, 1 / N_BINS, align="edge", color="#dddddd", label="fraction of predictions")
    is_right = probabilities.argmax(1) == labels
    CalibrationDisplay.from_predictions(
        is_right, confidence, n_bins=N_BINS, name="accuracy", ax=axes, marker="o", color=BLUE, markersize=4
    )
    axes.lines[0].set_label("perfect calibration")  # as the other labels, in lower case
    axes.set(xlabel="probability of the predicted class", ylabel="accuracy", title=title, aspect="equal")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.legend(frameon=False, loc="upper left", fontsize=8)
    save_figure(figure, path)
