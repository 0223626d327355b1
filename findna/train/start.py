"""The start of a fine-tuning: a copy of the teacher, a new head, their settings, and the splits."""

import copy
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from findna.config import parse_blocks
from findna.data.labelled import LabelledSet
from findna.data.windows import cut, is_joined
from findna.errors import ConfigError
from findna.models.task_settings import TaskSettings
from findna.nn.chordmixer import ChordMixer, extended
from findna.nn.encoder import Encoder
from findna.nn.heads import Head
from findna.recipes import FinetuneConfig
from findna.sizes import ModelConfig


def window_of(config: FinetuneConfig, model: ModelConfig) -> int:
    """Bases of a window.

    Raises:
        ConfigError: It is longer than the teacher's rings.
    """
    n_class_tokens = model.n_class_tokens if config.class_tokens else 0
    longest = max((model.extended_len or model.max_len) - n_class_tokens, config.extend)
    window = config.window or max(model.window, config.extend)
    if window > longest:
        raise ConfigError(
            f"window={window}: the teacher's rings hold {longest} bases; extend={window} adds blocks for more"
        )
    return window


def check_teacher(config: FinetuneConfig, teacher: Encoder) -> None:
    """Check a recipe against a teacher, before data are read.

    Raises:
        ConfigError: Its window is longer than the teacher's rings, or such blocks do not exist or cannot be added.
    """
    model = make_network(config, teacher).config
    window_of(config, model)
    parse_blocks(config.blocks, model.depth)


def settings_of(config: FinetuneConfig, model: ModelConfig, labelled: LabelledSet) -> TaskSettings:
    """The encoder, head and splits of a recipe, for a teacher and a training split.

    Unless the recipe has a window, it is at most the longest training sequence, because a task has seen only such
    lengths.

    Raises:
        ConfigError: The window is longer than the teacher's rings, or there are no such blocks.
    """
    window = window_of(config, model)
    if not config.window:
        window = min(window, int(np.diff(labelled.corpus.offsets).max(initial=1)))
    return TaskSettings(
        objective=labelled.objective,
        classes=labelled.classes,
        pools=config.pools,
        blocks=parse_blocks(config.blocks, model.depth),
        n_class_tokens=model.n_class_tokens if config.class_tokens else 0,
        window=window,
        stride=window,
        strand="both" if config.strand == "both" else "bed",
    )


def make_network(config: FinetuneConfig, teacher: Encoder) -> Encoder:
    """A copy of the teacher, with the further blocks of `extend`.

    Raises:
        ConfigError: It is not a ChordMixer and there are blocks to add.
    """
    if not config.extend:
        return copy.deepcopy(teacher)
    if not isinstance(teacher, ChordMixer):
        raise ConfigError("extend adds blocks to a chordmixer, and this teacher is a transformer")
    n_class_tokens = teacher.config.n_class_tokens if config.class_tokens else 0
    return copy.deepcopy(extended(teacher, config.extend + n_class_tokens))


def make_head(config: FinetuneConfig, model: ModelConfig, settings: TaskSettings) -> Head:
    """A new head: the hidden layer is random, from the seed, and the output layer is zero."""
    width = settings.n_features(model.channels)
    hidden = config.hidden if config.head == "mlp" else 0
    head = Head(width, settings.n_outputs, hidden=hidden, dropout=config.dropout)
    generator = torch.Generator().manual_seed(config.seed)
    with torch.no_grad():
        if head.fc1 is not None:
            bound = 1 / math.sqrt(width)
            head.fc1.weight.uniform_(-bound, bound, generator=generator)
            head.fc1.bias.zero_()
        head.out.weight.zero_()
        head.out.bias.zero_()
    return head


class Targets:
    """Labels as targets of a loss; those of a regression are standardised on the training split."""

    def __init__(self, train: LabelledSet) -> None:
        self.objective = train.objective
        self.mean, self.sd = 0.0, 1.0
        if self.objective == "regression":
            self.mean = float(train.labels.mean(dtype=np.float64))
            self.sd = float(train.labels.std(dtype=np.float64)) or 1.0

    def of(self, labels: NDArray[Any]) -> Tensor:
        """The targets of labels."""
        values = (labels - self.mean) / self.sd if self.objective == "regression" else labels
        return torch.from_numpy(values if values.dtype == np.int64 else values.astype(np.float32))


class TaskSplit:
    """A labelled split: its windows, its targets and, with a frozen encoder, the features of its strands."""

    def __init__(self, labelled: LabelledSet, settings: TaskSettings, targets: Targets) -> None:
        self.corpus, self.labels = labelled.corpus, labelled.labels
        self.windows = cut(labelled.corpus.lengths, window=settings.window, stride=settings.stride)
        self.targets = targets.of(labelled.labels)  # of sequences
        self.window_targets = self.targets[torch.from_numpy(self.windows.sequence)]
        self.features: list[Tensor] = []  # of the strand as given, then of the other

    @property
    def is_joined(self) -> NDArray[np.bool_]:
        """Which sequences have more than one window."""
        return is_joined(self.windows, len(self.labels))
