"""Task models: a run directory with encoder, head, classes and calibration; load, save, scores to probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from findna.errors import ModelError
from findna.models.described import TaskFacts, describe_task
from findna.models.parts import load_tensors, one_model
from findna.models.task_settings import TaskSettings, class_of
from findna.nn.encoder import Encoder
from findna.nn.heads import Head
from findna.nn.mixers import make_encoder
from findna.sizes import ModelConfig


@dataclass(frozen=True)
class TaskModel:
    """A loaded task model.

    Args:
        name: Of the task.
        path: Its folder.
        network: The encoder, float32, in eval mode.
        head: The head, float32, in eval mode.
        settings: How to use them.
        teacher: `name` and `sha256` of the teacher it started from.
        sha256: Of everything that determines its outputs: encoder, head and settings.
        metrics: Content of `metrics.json`: figures by split.
        training: How it was trained, from `config.json`.
    """

    name: str
    path: Path
    network: Encoder
    head: Head
    settings: TaskSettings
    teacher: Mapping[str, Any]
    sha256: str
    metrics: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> ModelConfig:
        """Size of the encoder."""
        return self.network.config

    def class_of(self, label: str) -> str:
        """The class of this name; see `findna.models.task_settings.class_of`."""
        return class_of(self.settings, label, task=self.name)


def load_task(name: str | Path) -> TaskModel:
    """Load a task model; a damaged one is an error.

    Args:
        name: A run directory of `findna finetune`, or the name of a built-in task.

    Raises:
        ModelError: It is not found, unfinished, a plain teacher, damaged, or its head does not fit its teacher.
        ConfigError: As in `find_task`.
    """
    return task_of_facts(describe_task(name))


def task_of_facts(found: TaskFacts) -> TaskModel:
    """The task model of a folder that was read; see `load_task`."""
    folder, read, settings = found.path, found.parts, found.settings
    with one_model(f"task {folder}"):
        network = make_encoder(read.size)
        load_tensors(read.encoder, network)
        network.depths(settings.blocks)  # there are such blocks
        expected = settings.n_features(network.config.channels)
        if read.n_features != expected:
            raise ModelError(
                f"task {folder}: the head needs {read.n_features:,} features, and the encoder has {expected:,}"
            )
        head = Head(read.n_features, settings.n_outputs, hidden=read.hidden)
        load_tensors(read.head, head)
    network.requires_grad_(False).eval()
    head.requires_grad_(False).eval()
    return TaskModel(
        name=found.name,
        path=folder,
        network=network,
        head=head,
        settings=settings,
        teacher=found.teacher,
        sha256=read.sha256,
        metrics=read.metrics,
        training=read.config.get("training", {}),
    )


def task_of(task: str | Path | TaskModel) -> TaskModel:
    """The task model itself, or the loaded one of this name or folder; see `load_task`."""
    return task if isinstance(task, TaskModel) else load_task(task)


def log_scores(outputs: Tensor, objective: str) -> Tensor:
    """The scores to average over windows: log-probabilities, logits (multilabel) or values; same shape."""
    return F.log_softmax(outputs.float(), dim=-1) if objective == "classification" else outputs.float()


def probabilities(scores: NDArray[np.floating[Any]], settings: TaskSettings, is_joined: Any) -> NDArray[np.float64]:
    """Calibrated probabilities from averaged scores, shape (n, n_outputs); for a regression, the values.

    Args:
        scores: Averages of `log_scores` over the windows of a sequence, shape (n, n_outputs).
        settings: Of the task.
        is_joined: Whether a sequence had more than one window; shape (n,) or one for all.
    """
    values = np.asarray(scores, dtype=np.float64)
    if settings.objective == "regression":
        return values
    joined = settings.temperature if settings.joined_temperature is None else settings.joined_temperature
    temperature = np.where(np.broadcast_to(is_joined, len(values)), joined, settings.temperature)
    scaled = values / temperature[:, None]
    if settings.objective == "multilabel":
        return np.exp(-np.logaddexp(0.0, -scaled))
    scaled -= scaled.max(axis=1, keepdims=True)
    shares = np.exp(scaled)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))
