"""From records to predictions: a task model's scores, averaged over windows and strands, calibrated and labelled."""

import copy
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from findna.cells import Cell, Item
from findna.config import ClassifyConfig
from findna.encode import Spans
from findna.io.rows import OBS_COLUMNS, Columns, Kind, columns_of
from findna.models.task import TaskModel, log_scores, probabilities
from findna.models.task_settings import TaskSettings
from findna.nn.device import Compute
from findna.nn.pooling import pool_features
from findna.sequence import MOSTLY_N
from findna.stream import Forward, Passed, Readout

PREDICTIONS = "findna-predictions/1"
"""Schema of the TSV's metadata file."""

UNKNOWN = "unknown"
"""Label of a row with a margin that is too small, or of a record that is mostly N."""

_FIRST = ("id", "chrom", "start", "end", "strand", "length")
_LAST = ("status", "n_windows", "frac_n", "n_iupac", "name", "source", "row")


def value_names(config: ClassifyConfig, settings: TaskSettings) -> list[str]:
    """Names of a row's numbers: probability, margin and p_CLASS (or p_1, ... of the top classes); or prediction."""
    if settings.objective == "regression":
        return ["prediction"]
    shown = range(1, config.top + 1) if config.top else settings.classes
    return ["probability", "margin", *(f"p_{name}" for name in shown)]


def label_names(config: ClassifyConfig, settings: TaskSettings) -> list[str]:
    """Names of a row's label columns: label, and label_1, label_2, ... of the top classes; none for a regression."""
    if settings.objective == "regression":
        return []
    return ["label", *(f"label_{rank}" for rank in range(1, config.top + 1))]


def prediction_columns(config: ClassifyConfig, settings: TaskSettings, extra: Iterable[str] = ()) -> dict[str, Kind]:
    """Name and kind of the columns other than the numbers; `extra` are the columns of the kind of input."""
    labels: dict[str, Kind] = dict.fromkeys(label_names(config, settings), "string")
    return {**OBS_COLUMNS, **labels, "status": "categorical", **dict.fromkeys(extra, "int32")}


def column_order(config: ClassifyConfig, settings: TaskSettings, extra: Iterable[str] = ()) -> list[str]:
    """The columns of the TSV of predictions, in order: the record, the prediction, its status, other columns."""
    labels, values = label_names(config, settings), value_names(config, settings)
    answer = [*labels[:1], *values]
    if config.top:
        ranked = zip(labels[1:], values[2:], strict=True)
        answer = ["label", "probability", "margin", *(name for pair in ranked for name in pair)]
    return [*_FIRST, *answer, *_LAST, *extra]


class Classifier:
    """A task model on its device.

    Args:
        task: The task model; its network and head are not changed.
        config: The form of a prediction.
        compute: Where and how it runs; the head always runs in float32.

    Raises:
        ConfigError: The task does not give such answers.
    """

    def __init__(self, task: TaskModel, config: ClassifyConfig, *, compute: Compute) -> None:
        self.config = config.for_task(task.settings.objective, task.settings.n_outputs, task.settings.strand)
        self.settings, self.compute = task.settings, compute
        self.head = copy.deepcopy(task.head).to(compute.device)
        self._forward = Forward(
            task.network,
            Readout(["mean"], self._read),
            window=self.settings.window,
            stride=self.settings.stride,
            both_strands=self.config.strand == "both",
            n_class_tokens=self.settings.n_class_tokens,
            blocks=self.settings.blocks,
            compute=compute,
        )

    def classify(self, items: Iterable[Item]) -> Iterator[Cell]:
        """Yield predictions cell by cell: numbers as in `value_names`, columns as in `prediction_columns`.

        The windows' log-probabilities (multilabel: logits; regression: values) are averaged, weighted by the number of
        bases that each owns. If requested, they are also averaged over both strands. Then they are calibrated.
        """
        for passed in self._forward.run(items):
            x, answers = self._answers(passed)
            yield Cell(x, {**passed.obs, **answers}, None, passed.skipped)

    def _read(self, hidden: Tensor, rings: NDArray[np.int64], own: Spans) -> list[Tensor]:
        n_class_tokens = self.settings.n_class_tokens
        features = pool_features(hidden, rings, own, pools=self.settings.pools, n_class_tokens=n_class_tokens)
        return [log_scores(self.head(features), self.settings.objective)]

    def _answers(self, passed: Passed) -> tuple[NDArray[np.float32], Columns]:
        settings, names = self.settings, value_names(self.config, self.settings)
        if not passed.n_rows:
            return np.empty((0, len(names)), np.float32), {}
        is_joined = np.array(passed.obs["n_windows"]) > 1
        values = probabilities(passed.values[0].mean(axis=1), settings, is_joined)
        is_n = [share > MOSTLY_N for share in passed.obs["frac_n"]]
        if settings.objective == "regression":
            return values.astype(np.float32), {"status": ["mostly N" if bad else "ok" for bad in is_n]}
        answers = [self._answer(row, is_mostly_n=bad) for row, bad in zip(values, is_n, strict=True)]
        x = np.array([numbers for numbers, _ in answers], np.float32)
        return x, columns_of([columns for _, columns in answers], answers[0][1])

    def _answer(self, p: NDArray[np.float64], *, is_mostly_n: bool) -> tuple[list[float], dict[str, str]]:
        classes, top = self.settings.classes, self.config.top
        ranked = np.argsort(-p, kind="stable").tolist()
        label, probability, margin = decide(p, classes, objective=self.settings.objective)
        status = "mostly N" if is_mostly_n else "abstained" if margin < self.config.abstain else "ok"
        columns = {"label": label if status == "ok" else UNKNOWN, "status": status}
        columns |= {f"label_{rank}": classes[index] for rank, index in enumerate(ranked[:top], start=1)}
        shown = p[ranked[:top]] if top else p
        return [probability, margin, *shown.tolist()], columns


def decide(p: NDArray[np.float64], classes: Sequence[str], *, objective: str) -> tuple[str, float, float]:
    """Label, probability and margin of calibrated probabilities.

    Classification: the best class, its probability, and the difference from the second. Multilabel: the labels
    above one half, joined by ";", and the probability and margin (yes minus no) of the least certain label.

    >>> decide(np.array([0.25, 0.75]), ["a", "b"], objective="classification")
    ('b', 0.75, 0.5)
    >>> decide(np.array([0.75, 0.0, 1.0]), ["a", "b", "c"], objective="multilabel")
    ('a;c', 0.75, 0.5)
    """
    if objective == "multilabel":
        margin = float(np.abs(2 * p - 1).min())
        chosen = [name for name, value in zip(classes, p.tolist(), strict=True) if value > 0.5]
        return ";".join(chosen), (1 + margin) / 2, margin
    best = int(p.argmax())
    return classes[best], float(p[best]), float(p[best] - np.delete(p, best).max())
