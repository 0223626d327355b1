"""The rows of `findna embed` and `findna classify`: a model's vectors, a task model's predictions."""

from collections.abc import Iterable, Iterator, Sequence

from findna.cells import Cell, Item
from findna.classification import PREDICTIONS, Classifier, column_order, prediction_columns, value_names
from findna.config import ClassifyConfig, EmbedConfig
from findna.embedding import RecordEmbedder, feature_columns, feature_names, obs_columns, width_of
from findna.io.rows import Layout
from findna.models.store import Model
from findna.models.task import TaskModel
from findna.nn.device import Compute
from findna.runs.row_facts import facts_of_answers, facts_of_vectors


class VectorRows:
    """A `findna.runs.job.RowMaker` for the vectors of a model.

    Args:
        model: The model; it is not changed.
        config: The contents of a vector.
        compute: Where and how it runs.
    """

    schema: str = ""

    def __init__(self, model: Model, config: EmbedConfig, compute: Compute) -> None:
        self._embedder = RecordEmbedder(model.network, config, readout=model.readout, compute=compute)
        self._config, self._readout = self._embedder.config, model.readout
        self.size, self.compute = model.config, compute
        self.window, self.stride, self.has_windows = self._config.window, self._config.stride, self._config.windows
        self.facts, self.identity, self.params = facts_of_vectors(model, config, compute.batch_bases)

    def layout(self, extra: Sequence[str] = ()) -> Layout:
        """The contents of a row."""
        config, size = self._config, self.size
        return Layout(
            columns=obs_columns(config, extra),
            features=feature_names(config, size),
            dtype=config.dtype,
            cls_shape=(size.n_class_tokens, width_of(config, size)) if config.with_cls else None,
            tokens_dim=width_of(config, size) if config.with_tokens else None,
            var=feature_columns(config, size, self._readout),
        )

    def cells(self, items: Iterable[Item]) -> Iterator[Cell]:
        """Yield the vectors of records."""
        return self._embedder.embed(items)


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
        self.size, self.compute = task.config, compute
        self.window, self.stride = task.settings.window, task.settings.stride
        self.has_windows = self._config.windows
        self.facts, self.identity, self.params = facts_of_answers(task, config, compute.batch_bases)

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
