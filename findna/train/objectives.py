"""Losses of the three objectives, calibration, and figures of a task model."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from findna.data.labelled import LabelledSet
from findna.errors import ConfigError, MissingExtraError
from findna.metrics import auroc, mean_of, metrics_of
from findna.models.task import probabilities
from findna.models.task_settings import TaskSettings

MIN_JOINED = 20
"""Minimum number of sequences of several windows for a separate temperature."""
BOUNDS = (0.01, 100.0)
"""Smallest and largest temperature."""


def loss_of(scores: Tensor, labels: Tensor, objective: str, *, class_weights: Tensor | None = None) -> Tensor:
    """Loss of each row, in nats (regression: squared error); shape (n,).

    Args:
        scores: Log-probabilities or logits, logits of labels, or values; shape (n, n_outputs).
        labels: As in `LabelledSet`.
        objective: One of `findna.recipes.OBJECTIVES`.
        class_weights: Classification: factor of each class. Multilabel: factor of a label where it is present.
    """
    if objective == "classification":
        return F.cross_entropy(scores, labels, weight=class_weights, reduction="none")
    if objective == "multilabel":
        return F.binary_cross_entropy_with_logits(scores, labels, pos_weight=class_weights, reduction="none").mean(1)
    return (scores[:, 0] - labels).square()


def balanced_weights(labelled: LabelledSet) -> Tensor:
    """Factors that give all classes, or presence and absence of a label, the same weight; shape (n_classes,), float32.

    Raises:
        ConfigError: It is a regression.
    """
    if labelled.objective == "regression":
        raise ConfigError("class_weights=balanced: a regression has no classes")
    if labelled.objective == "multilabel":
        n_present = labelled.labels.sum(axis=0)
        weights = (len(labelled) - n_present) / np.maximum(n_present, 1)
        return torch.from_numpy(np.maximum(weights, 1e-3).astype(np.float32))
    counts = np.bincount(labelled.labels, minlength=len(labelled.classes))
    return torch.from_numpy((len(labelled) / (len(counts) * np.maximum(counts, 1))).astype(np.float32))


def mean_loss(scores: NDArray[Any], labels: NDArray[Any], objective: str) -> float:
    """Mean loss of joined scores, see `loss_of`."""
    return float(loss_of(torch.as_tensor(scores), _targets(labels), objective).mean())


def simple_accuracy(scores: NDArray[Any], labels: NDArray[Any], objective: str) -> float:
    """Fraction of correct predictions (multilabel: of correct labels); NaN for a regression."""
    if objective == "regression":
        return float("nan")
    if objective == "multilabel":
        return float(((scores > 0) == (labels > 0.5)).mean())
    return float((scores.argmax(1) == labels).mean())


def quality(figures: Mapping[str, float], select: str) -> tuple[float, float]:
    """The value to maximise: the validation AUROC, then the negative loss; with `select` "loss" only the latter.

    >>> figures = {"valid_loss": 0.5, "valid_auroc": 0.9}
    >>> quality(figures, "auroc"), quality(figures, "loss")
    ((0.9, -0.5), (0.0, -0.5))
    """
    auroc = figures["valid_auroc"]
    return (auroc if select == "auroc" and math.isfinite(auroc) else 0.0), -figures["valid_loss"]


def ranking(scores: NDArray[Any], labels: NDArray[Any], objective: str) -> float:
    """AUROC, mean over the classes or labels with both outcomes; NaN for a regression, or if none has both.

    >>> ranking(np.array([[0.0, 0.1], [0.0, 0.4], [0.0, 0.4], [0.0, 0.8]]), np.array([0, 0, 1, 1]), "classification")
    0.875
    """
    if objective == "regression":
        return float("nan")
    truth = labels > 0.5 if objective == "multilabel" else labels[:, None] == np.arange(scores.shape[1])
    if objective == "classification" and scores.shape[1] == 2:  # the two classes have the same AUROC
        truth, scores = truth[:, 1:], scores[:, 1:] - scores[:, :1]
    mean = mean_of([auroc(truth[:, k], scores[:, k]) for k in range(truth.shape[1])])
    return float("nan") if mean is None else mean


def fit_temperature(scores: NDArray[Any], labels: NDArray[Any], objective: str) -> float:
    """The temperature with the lowest loss; 1 for a regression, without rows, or if no other lowers the loss.

    Guo et al. 2017 (arXiv:1706.04599), with targets as in Platt 1999: of each target, 1 / (n + 2) goes to the other
    classes, so that a split without errors does not make every probability 1. A temperature counts only if it also
    lowers the loss of the labels themselves.
    """
    if objective == "regression" or not len(scores):
        return 1.0
    values, targets = torch.as_tensor(scores, dtype=torch.float64), _targets(labels)
    doubt = 1 / (len(values) + 2)
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        scaled = values / log_temperature.exp()
        if objective == "multilabel":
            loss = F.binary_cross_entropy_with_logits(scaled, targets * (1 - 2 * doubt) + doubt)
        else:
            loss = F.cross_entropy(scaled, targets, label_smoothing=doubt)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    temperature = float(log_temperature.detach().exp())
    if not np.isfinite(temperature):
        return 1.0
    return _if_better(min(max(temperature, BOUNDS[0]), BOUNDS[1]), scores, labels, objective)


def _if_better(temperature: float, scores: NDArray[Any], labels: NDArray[Any], objective: str) -> float:
    is_better = mean_loss(scores / temperature, labels, objective) < mean_loss(scores, labels, objective)
    return temperature if is_better else 1.0


def fit_temperatures(
    scores: NDArray[Any], labels: NDArray[Any], is_joined: NDArray[np.bool_], objective: str
) -> tuple[float, float | None]:
    """Return (temperature, joined_temperature): sequences of several windows have their own if there are enough."""
    n_joined = int(is_joined.sum())
    if n_joined < MIN_JOINED:
        return fit_temperature(scores, labels, objective), None
    joined = fit_temperature(scores[is_joined], labels[is_joined], objective)
    if len(scores) - n_joined < MIN_JOINED:
        return _if_better(joined, scores, labels, objective), None
    return fit_temperature(scores[~is_joined], labels[~is_joined], objective), joined


def figures_of(
    scores: NDArray[Any], labels: NDArray[Any], is_joined: NDArray[np.bool_], settings: TaskSettings
) -> dict[str, Any]:
    """The figures of one split for `metrics.json`: losses, accuracy, and with scikit-learn all of `metrics_of`."""
    answers = probabilities(scores, settings, is_joined)
    figures: dict[str, Any] = {"n": len(labels)}
    if settings.objective == "regression":
        figures["loss"] = mean_loss(answers, labels, settings.objective)
    else:
        logits = np.log(np.clip(answers, 1e-300, None))
        if settings.objective == "multilabel":
            logits -= np.log(np.clip(1 - answers, 1e-300, None))
        figures["loss"] = mean_loss(logits, labels, settings.objective)
        figures["uncalibrated_loss"] = mean_loss(scores, labels, settings.objective)
        figures["accuracy"] = simple_accuracy(scores, labels, settings.objective)
    try:
        figures |= metrics_of(labels, answers, classes=settings.classes, objective=settings.objective)
    except MissingExtraError as error:
        figures["note"] = str(error)
    return figures


def figures_by_kind(
    split: str, scores: NDArray[Any], labels: NDArray[Any], is_joined: NDArray[np.bool_], settings: TaskSettings
) -> dict[str, dict[str, Any]]:
    """`figures_of` a split; if it has sequences of one window and of several, also those of each kind."""
    kinds = {split: np.ones(len(labels), dtype=np.bool_)}
    if 0 < is_joined.sum() < len(labels):
        kinds |= {f"{split}_one_window": ~is_joined, f"{split}_joined": is_joined}
    return {name: figures_of(scores[kind], labels[kind], is_joined[kind], settings) for name, kind in kinds.items()}


def _targets(labels: NDArray[Any]) -> Tensor:
    return torch.as_tensor(labels if labels.dtype == np.int64 else labels.astype(np.float64))


def summary_line(figures: Mapping[str, Any]) -> str:
    """The metrics as one line of text."""
    names = ("loss", "accuracy", "macro_f1", "mcc", "auroc", "pearson", "spearman", "r2")
    return ", ".join(f"{name} {figures[name]:.4f}" for name in names if isinstance(figures.get(name), float))
