"""The run of `findna classify`: its job, and the rows of a task model's predictions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from findna.cells import Cell, Item
from findna.classification import PREDICTIONS, Classifier, column_order, prediction_columns, value_names
from findna.config import ClassifyConfig
from findna.io.formats import Format
from findna.io.rows import Layout
from findna.models.task import TaskModel, load_task
from findna.nn.device import Compute
from findna.runs.job import Job


@dataclass(frozen=True)
class ClassifyJob(Job):
    """A run of `findna classify`. Its output is a TSV; that of a shard is HDF5, which a merge turns into a TSV.

    Args:
        config: The form of a prediction.
        task: A built-in task's name or a run directory.
    """

    output_format: Format = "tsv"
    config: ClassifyConfig = field(default_factory=ClassifyConfig)
    task: str = ""

    def _problems(self) -> list[str]:
        problems = super()._problems()
        if self.config.strand not in ("", self.options.strand):
            problems.append(f"strand {self.config.strand} of the task and {self.options.strand} of the inputs differ")
        if self.output_format != ("h5" if self.run.shard else "tsv"):
            problems.append(f"predictions are a TSV, and those of a shard HDF5, not {self.output_format}")
        if self.config.windows and self.run.shard:
            problems.append(
                f"windows=True cannot be used with shard={self.run.shard}, because a shard has complete records"
            )
        return problems

    def load(self, compute: Compute) -> "AnswerRows":
        """The task model and the form of its predictions."""
        return AnswerRows(load_task(self.task), self.config, compute)


class AnswerRows:
    """A `findna.runs.job.RowMaker` for the predictions of a task model.

    Args:
        task: The task model; it is not changed.
        config: The form of a prediction.
        compute: Where and how it runs.
    """

    schema: str = PREDICTIONS

    def __init__(self, task: TaskModel, config: ClassifyConfig, compute: Compute) -> None:
        self._classifier = Classifier(task, config, compute=compute)
        self._config, self._settings = self._classifier.config, task.settings
        self.size, self.compute = task.network.config, compute
        self.window, self.stride = task.settings.window, task.settings.stride
        self.has_windows = self._config.windows
        self.identity = task.sha256
        self.facts: Mapping[str, Any] = {
            "name": task.name,
            "sha256": task.sha256,
            "config": self.size.to_dict(),
            "task": asdict(task.settings),
            "teacher": dict(task.teacher),
        }
        self.params: Mapping[str, Any] = {**asdict(self._config), "batch_bases": compute.batch_bases}

    def layout(self, extra: Sequence[str] = ()) -> Layout:
        """The contents of a row."""
        return Layout(
            columns=prediction_columns(self._config, self._settings, extra),
            features=value_names(self._config, self._settings),
            order=column_order(self._config, self._settings, extra),
        )

    def cells(self, items: Iterable[Item]) -> Iterator[Cell]:
        """Yield the predictions for records."""
        return self._classifier.classify(items)
