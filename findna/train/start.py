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

FEW = 30
"""With fewer validation sequences, a run says that its metrics are uncertain."""

_MOST_NAMED = 3


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


def doubts(valid: LabelledSet, select: str) -> str:
    """What makes the metrics and probabilities of a validation split uncertain, to add to a line; "" if nothing does.

    Args:
        valid: The split.
        select: As in `FinetuneConfig`.
    """
    few = "; few to validate: metrics and probabilities are uncertain" if len(valid) < FEW else ""
    if valid.objective != "classification":
        return few
    counts = np.bincount(valid.labels, minlength=len(valid.classes))
    missing = [name for name, n in zip(valid.classes, counts, strict=True) if not n]
    if not missing:
        return few
    names = ", ".join(missing[:_MOST_NAMED])
    names += f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
    if len(valid.classes) - len(missing) == 1:  # its AUROC needs sequences of other classes
        cannot = "no AUROC can be computed" + (", the validation loss selects" if select == "auroc" else "")
    else:
        cannot = f"{'its AUROC' if len(missing) == 1 else 'their AUROCs'} cannot be computed"
    which = "class" if len(missing) == 1 else "classes"
    return f"{few}\nno validation sequence of {which} {names}: {cannot}, and probabilities are not reliable"


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
