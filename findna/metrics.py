"""Metrics of predictions by scikit-learn: one dictionary per objective."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findna.extras import need_sklearn

Values = NDArray[Any]

THRESHOLD = 0.5
"""In a multilabel task, a label is predicted if its probability is above this."""


def metrics_of(
    labels: Values, probabilities: Values, *, classes: Sequence[str] = (), objective: str = "classification"
) -> dict[str, Any]:
    """Metrics of predictions, ready for JSON; None if not defined for these labels.

    Classification: accuracy, macro_f1 (mean over the classes that occur or are predicted), mcc, auroc (one class
    against the rest, mean over the classes that occur), confusion (rows are the true class, columns the predicted).
    Multilabel: the same for each label, averaged over the labels; confusion has one 2 x 2 table per label.
    Regression: pearson, spearman, r2, mse.

    Args:
        labels: Class index (n,), or 0 and 1 (n, n_classes), or values (n,).
        probabilities: Shape (n, n_classes), or values (n,) or (n, 1).
        classes: Names of the classes; () for regression.
        objective: classification, multilabel or regression.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        ValueError: The shapes do not fit, a value is not finite, or the objective does not exist.
    """
    need_sklearn("accuracy, macro F1, MCC and AUROC")
    figures = {"classification": _of_classes, "multilabel": _of_labels, "regression": _of_values}
    if objective not in figures:
        raise ValueError(f"objective must be one of {', '.join(figures)}, not {objective!r}")
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    if len(labels) != len(probabilities) or not len(labels):
        raise ValueError(f"{len(labels)} labels, but {len(probabilities)} predictions")
    if objective != "regression" and probabilities.shape[1:] != (len(classes),):
        raise ValueError(f"probabilities of shape {probabilities.shape}, but {len(classes)} classes")
    if not np.isfinite(probabilities).all():
        raise ValueError("a prediction is not finite")
    return {**figures[objective](labels, probabilities), "n": len(labels)}


def auroc(is_class: Values, scores: Values) -> float | None:
    """The share of pairs, one of the class and one not, that the scores rank correctly; ties count one half.

    None if there are no such pairs.

    >>> auroc(np.array([False, False, True, True]), np.array([0.1, 0.4, 0.4, 0.8]))
    0.875
    """
    n = int(np.count_nonzero(is_class))
    if not 0 < n < len(is_class):
        return None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # 1-based ranks; ties have their mean rank
    return float((ranks[place][is_class].sum() - n * (n + 1) / 2) / (n * (len(is_class) - n)))


def mean_of(figures: Sequence[float | None]) -> float | None:
    """The mean of the metrics that are defined; None if there are none."""
    defined = [figure for figure in figures if figure is not None]
    return float(np.mean(defined)) if defined else None


def _of_classes(labels: Values, probabilities: Values) -> dict[str, Any]:
    from sklearn import metrics

    n_classes = probabilities.shape[1]
    predicted = probabilities.argmax(1)
    scores = [auroc(labels == k, probabilities[:, k]) for k in range(n_classes)]
    return {
        "accuracy": float(metrics.accuracy_score(labels, predicted)),
        "macro_f1": float(metrics.f1_score(labels, predicted, average="macro")),
        "mcc": _mcc(labels, predicted),
        "auroc": scores[1] if n_classes == 2 else mean_of(scores),
        "confusion": metrics.confusion_matrix(labels, predicted, labels=range(n_classes)).tolist(),
    }


def _of_labels(labels: Values, probabilities: Values) -> dict[str, Any]:
    from sklearn import metrics

    truth, predicted = labels.astype(bool), probabilities > THRESHOLD
    columns = range(probabilities.shape[1])

    def over_labels(figure: Callable[..., float]) -> float:
        return float(np.mean([figure(truth[:, k], predicted[:, k]) for k in columns]))

    return {
        "accuracy": over_labels(metrics.accuracy_score),
        "macro_f1": float(metrics.f1_score(truth, predicted, average="macro", zero_division=0.0)),
        "mcc": over_labels(_mcc),
        "auroc": mean_of([auroc(truth[:, k], probabilities[:, k]) for k in columns]),
        "confusion": metrics.multilabel_confusion_matrix(truth, predicted).tolist(),
    }


def _of_values(labels: Values, predicted: Values) -> dict[str, Any]:
    from scipy import stats
    from sklearn import metrics

    predicted = predicted.reshape(len(labels))
    is_varied = len(labels) > 1 and bool(np.ptp(labels) > 0)
    is_ordered = is_varied and bool(np.ptp(predicted) > 0)
    return {
        "pearson": float(stats.pearsonr(labels, predicted).statistic) if is_ordered else None,
        "spearman": float(stats.spearmanr(labels, predicted).statistic) if is_ordered else None,
        "r2": float(metrics.r2_score(labels, predicted)) if is_varied else None,
        "mse": float(metrics.mean_squared_error(labels, predicted)),
    }


def _mcc(labels: Values, predicted: Values) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(labels, predicted)) if len(np.union1d(labels, predicted)) > 1 else 0.0
