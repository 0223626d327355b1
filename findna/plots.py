"""Figures as PNG files: training curve, confusion matrix, ROC, calibration; a pretraining and what came of it."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from findna.extras import need, need_sklearn
from findna.io.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

N_BINS = 10
"""Bins of a calibration plot, of equal width."""

_DPI = 300  # what journals ask for
_MOST_CURVES = 10
_LONGEST_NAME = 18
_INK, _BLUE, _ORANGE, _GREY = "#222222", "#2166ac", "#d6604d", "#999999"


def training_curve(rows: Sequence[Mapping[str, Any]], path: Path, *, title: str = "") -> None:
    """Draw `loss` and `valid_loss` of a training's log by `epoch` (else `step`); the best `valid_loss` is marked.

    Args:
        rows: Lines of log.csv; a value that is missing or "" is skipped.
        path: The PNG file.
        title: Above the figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    figure, axes = _figure(5.2, 3.4)
    x_name = "epoch" if any("epoch" in row for row in rows) else "step"
    for name, label, color in (("loss", "training", _GREY), ("valid_loss", "validation", _BLUE)):
        points = [(float(row[x_name]), float(row[name])) for row in rows if row.get(name) not in (None, "")]
        if not points:
            continue
        x, y = zip(*points, strict=True)
        axes.plot(x, y, color=color, label=label, marker="o" if len(points) <= 30 else "", markersize=3)
        if name == "valid_loss":
            best = int(np.argmin(y))
            axes.plot(x[best], y[best], "o", color=_ORANGE, markersize=6, label=f"best: {y[best]:.4f}")
    if penalties := [(float(row[x_name]), row["penalty"]) for row in rows if row.get("penalty") not in (None, "")]:
        axes.set_xticks([x for x, _ in penalties], [f"{float(penalty):g}" for _, penalty in penalties])
        x_name = "penalty"
    else:
        axes.locator_params(axis="x", integer=True)
    axes.set(xlabel=x_name, ylabel="loss", title=title)
    axes.legend(frameon=False)
    save_figure(figure, path)


def confusion_matrix(
    confusion: Sequence[Sequence[int]], path: Path, *, classes: Sequence[str], title: str = ""
) -> None:
    """Draw a confusion matrix: each row is a true class, shaded by its shares, with counts in the cells.

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
    figure, axes = _figure(size + 0.9, size)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [_short(name) for name in classes]
    is_wide = max(map(len, names)) > 3
    axes.set_xticks(range(len(names)), names, rotation=45 if is_wide else 0, ha="right" if is_wide else "center")
    axes.set_yticks(range(len(names)), names)
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if shares[row, column] > 0.6 else _INK
        axes.text(column, row, f"{count:,}", ha="center", va="center", color=color, fontsize=8)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.046, pad=0.04)
    save_figure(figure, path)


def roc(
    labels: NDArray[Any], probabilities: NDArray[Any], path: Path, *, classes: Sequence[str], title: str = ""
) -> None:
    """Draw the ROC of each class against the rest (of two classes, of the second), with its area.

    Args:
        labels: Class index, shape (n,).
        probabilities: Shape (n, n_classes).
        path: The PNG file.
        classes: Their names; of more than ten only the mean of the areas and thin lines are shown.
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

    figure, axes = _figure(4.4, 4.2)
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title=title)
    _curves(axes, curve, labels, probabilities, classes=classes, value="AUROC", place="lower right")
    save_figure(figure, path)


def precision_recall(
    labels: NDArray[Any], probabilities: NDArray[Any], path: Path, *, classes: Sequence[str], title: str = ""
) -> None:
    """Draw precision by recall of each class against the rest (of two classes, of the second).

    The legend has the average precision and the number of sequences of each class. Arguments and errors are those of
    `roc`.
    """
    need_sklearn("a figure")
    from sklearn.metrics import average_precision_score, precision_recall_curve

    def curve(is_class: NDArray[np.bool_], scores: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], float]:
        precision, recall, _ = precision_recall_curve(is_class, scores)
        return recall, precision, float(average_precision_score(is_class, scores))

    figure, axes = _figure(4.4, 4.2)
    axes.set(xlabel="recall", ylabel="precision", title=title)
    _curves(axes, curve, labels, probabilities, classes=classes, value="average precision", place="lower left")
    save_figure(figure, path)


def _curves(
    axes: "Axes",
    curve: Callable[[NDArray[np.bool_], NDArray[Any]], tuple[NDArray[Any], NDArray[Any], float]],
    labels: NDArray[Any],
    probabilities: NDArray[Any],
    *,
    classes: Sequence[str],
    value: str,
    place: Literal["lower left", "lower right"],
) -> None:
    """One curve per class that has sequences and is not all there is; its legend has value and number of sequences."""
    shown = [k for k in ([1] if len(classes) == 2 else range(len(classes))) if 0 < np.sum(labels == k) < len(labels)]
    values = []
    for k in shown:
        x, y, found = curve(labels == k, probabilities[:, k])
        values.append(found)
        name = f"{_short(classes[k])}: {found:.3f} (n = {np.sum(labels == k):,})"
        label = name if len(shown) <= _MOST_CURVES else None
        axes.plot(x, y, label=label, linewidth=1.4 if label else 0.6, color=_BLUE if len(shown) == 1 else None)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    if shown:
        mean = f"{value} (mean {np.mean(values):.3f})" if len(shown) > 1 else value
        axes.legend(frameon=False, loc=place, fontsize=8, title=mean, title_fontsize=8)


def split_figures(
    labels: NDArray[Any], probabilities: NDArray[Any], stem: Path, *, classes: Sequence[str], title: str
) -> list[Path]:
    """Draw ROC, precision-recall, confusion matrix and calibration of a split: STEM.roc.png and so on.

    Args:
        labels: Class index, shape (n,).
        probabilities: Shape (n, n_classes).
        stem: Path of the figures without their endings.
        classes: Their names.
        title: Above each figure, without the number of sequences.

    Raises:
        MissingExtraError: matplotlib or scikit-learn is not installed.
        OutputError: A file cannot be written.
    """
    title = f"{title}, {len(labels):,} sequences"
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (labels, probabilities.argmax(1)), 1)
    paths = [stem.with_name(f"{stem.name}.{kind}.png") for kind in ("roc", "pr", "confusion", "calibration")]
    roc(labels, probabilities, paths[0], classes=classes, title=title)
    precision_recall(labels, probabilities, paths[1], classes=classes, title=title)
    confusion_matrix(confusion.tolist(), paths[2], classes=classes, title=title)
    calibration(labels, probabilities, paths[3], title=title)
    return paths


def calibration(labels: NDArray[Any], probabilities: NDArray[Any], path: Path, *, title: str = "") -> None:
    """Draw accuracy by confidence, the probability of the predicted class; on the diagonal the two agree.

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

    figure, axes = _figure(4.4, 4.2)

    confidence = np.clip(probabilities.max(1), 0, 1)
    is_right = probabilities.argmax(1) == labels
    rate, mean = calibration_curve(is_right, confidence, n_bins=N_BINS)
    edges = np.linspace(0, 1, N_BINS + 1)
    counts, _ = np.histogram(confidence, edges)
    axes.bar(
        edges[:-1], counts / counts.sum(), width=1 / N_BINS, align="edge", color="#dddddd", label="share of predictions"
    )
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle=":")
    axes.plot(mean, rate, "o-", color=_BLUE, markersize=4, label="accuracy")
    axes.set(xlabel="probability of the predicted class", ylabel="accuracy", title=title, aspect="equal")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.legend(frameon=False, loc="upper left", fontsize=8)
    save_figure(figure, path)


def comparison(
    rows: Mapping[str, Sequence[float | None]], columns: Sequence[str], *, is_quoted: Sequence[bool], label: str
) -> str:
    """A figure of a table as SVG: a line per row, a dot per column; quoted values are hollow.

    Args:
        rows: Values by the name of the row, one per column; None where there is none.
        columns: Names of the columns.
        is_quoted: Whether the values of a column are quoted, not measured.
        label: What the values are.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure, axes = _figure(8.4, 1.2 + 0.34 * len(rows) + 0.18 * len(columns) / 3)
    names = list(rows)
    places = np.arange(len(names))[::-1]
    for k, (column, quoted) in enumerate(zip(columns, is_quoted, strict=True)):
        points = [
            (value, y) for y, value in zip(places, (rows[name][k] for name in names), strict=True) if value is not None
        ]
        if points:
            color = f"C{k % 10}"
            x, y = zip(*points, strict=True)
            face = "none" if quoted else color
            axes.scatter(x, y, label=column, edgecolors=color, facecolors=face, s=34, marker="D" if quoted else "o")
    axes.set_yticks(places, names, fontsize=8)
    axes.set(xlabel=label, ylim=(-0.6, len(names) - 0.4))
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def accuracy_by_position(
    starts: Sequence[int], shares: Mapping[str, Sequence[float]], path: Path, *, title: str = ""
) -> None:
    """Draw the masked-base accuracy of models along a window.

    Args:
        starts: First base of each bin.
        shares: Of each model, by the name in the legend; the first is drawn in colour.
        path: The PNG file.
        title: Above the figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    figure, axes = _figure(6.4, 3.4)
    styles = [(_BLUE, "-"), (_ORANGE, "-"), (_INK, "--"), (_GREY, "-"), (_GREY, ":")]
    for (name, values), (color, line) in zip(shares.items(), itertools.cycle(styles)):
        axes.plot(starts, values, color=color, linestyle=line, linewidth=1.2, label=name)
    axes.set(xlabel="position in the window", ylabel="masked-base accuracy", title=title)
    axes.margins(y=0.3)  # room for the legend
    axes.legend(frameon=False, fontsize=8, ncols=2)
    save_figure(figure, path)


def pretraining_curves(rows: Sequence[Mapping[str, float]], path: Path, *, title: str = "") -> None:
    """Draw a pretraining on its held-out windows: losses, masked bases, effective rank, student and teacher.

    A run without distillation has no contrast, and its student is its teacher: these curves are not drawn.

    Args:
        rows: Lines of log.csv; those without a held-out figure are skipped.
        path: The PNG file.
        title: Above the figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    curves = {
        "nats": {"valid_mnm_loss": "masked bases"},
        "masked-base accuracy": {"valid_accuracy": "student", "kmer_accuracy": "7-mer table"},
        "effective rank": {"effective_rank": "class tokens"},
    }
    if any(row.get("valid_contrastive_loss", np.nan) > 0 for row in rows):
        curves["nats"]["valid_contrastive_loss"] = "contrast"
        curves[""] = {"agreement": "agreement (cosine)", "teacher_entropy": "teacher entropy (nats)"}
        figure, grid = panels(8.4, 5.6, n_rows=2, n_columns=2)
    else:
        figure, grid = panels(10.5, 2.8, n_columns=3)
    for axes, (label, columns) in zip(grid, curves.items(), strict=True):
        for (column, name), color in zip(columns.items(), (_BLUE, _ORANGE), strict=False):
            points = [(row["n_bases"] / 1e6, row[column]) for row in rows if not np.isnan(row.get(column, np.nan))]
            if points:
                axes.plot(*zip(*points, strict=True), color=color, marker="o", markersize=3, label=name)
        axes.set(xlabel="bases seen, millions", ylabel=label)
        if axes.lines:
            axes.legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    save_figure(figure, path)


def _figure(width: float, height: float) -> "tuple[Figure, Axes]":
    figure, grid = panels(width, height)
    return figure, grid[0]


def panels(width: float, height: float, *, n_rows: int = 1, n_columns: int = 1) -> "tuple[Figure, list[Axes]]":
    """An empty figure, its size in inches, and its axes.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = need("matplotlib.figure", extra="plot", purpose="a figure").figure.Figure(
        figsize=(width, height), layout="constrained"
    )
    grid = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(10)
    return figure, grid


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG, SVG or PDF, by its name. Text in a PDF stays text.

    Raises:
        OutputError: It cannot be written.
    """
    from matplotlib import rc_context

    ending = path.suffix[1:].lower()
    with rc_context({"pdf.fonttype": 42}), replacing(path) as temp:
        figure.savefig(temp, format=ending, dpi=_DPI, metadata=None if ending == "png" else {})
