"""Task models: a run directory with encoder, head, classes and calibration; load, save, scores to probabilities."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from findna import phases
from findna.config import POOLS
from findna.errors import ConfigError, ModelError, system_reason
from findna.io.structured import read_json
from findna.limits import MAX_CLASS_TOKENS, MAX_CLASSES, MAX_DEPTH, MAX_SIZES, MAX_WINDOW, shown, wrong_types
from findna.models.manifest import check_digest
from findna.models.parts import check_facts, load_tensors, read_weights
from findna.models.store import find_model, load_model, read_config, shipped_models
from findna.nn.encoder import Encoder
from findna.nn.heads import Head
from findna.nn.mixers import make_encoder
from findna.nn.pooling import n_features
from findna.recipes import OBJECTIVES
from findna.sequence import ALPHABET
from findna.sizes import ModelConfig
from findna.tasks.catalog import find_head, task_names

SCHEMA = "findna-task/1"
_MOST_HEAD = (MAX_SIZES["channels"] * MAX_DEPTH, MAX_SIZES["hidden"])
PLAN = "finetune.json"
"""The first file of a run directory; `config.json` is written last."""


@dataclass(frozen=True)
class TaskSettings:
    """How hidden states become predictions.

    Args:
        objective: One of `findna.recipes.OBJECTIVES`.
        classes: Names of the outputs, in order; () for a regression.
        pools: The pools of the features, in order.
        n_class_tokens: Number of class tokens at the end of each ring.
        window: Maximum length of a window, in bases.
        stride: Bases between window starts.
        temperature: Divides the scores of a sequence before they become probabilities; 1 is uncalibrated.
        joined_temperature: The same for sequences of several windows; None: as `temperature`.
        blocks: Blocks after which the hidden states are read, increasing; (): after the last.
        strand: "bed": sequences as given; "both": mean scores of the two strands.
    """

    objective: str
    classes: tuple[str, ...]
    pools: tuple[str, ...]
    n_class_tokens: int
    window: int
    stride: int
    temperature: float = 1.0
    joined_temperature: float | None = None
    blocks: tuple[int, ...] = ()
    strand: str = "bed"

    def __post_init__(self) -> None:
        if problems := wrong_types(self) or self._out_of_range():
            raise ConfigError("settings: " + "; ".join(problems))

    def _out_of_range(self) -> list[str]:
        joined = self.temperature if self.joined_temperature is None else self.joined_temperature
        rules = {
            f"objective must be one of {', '.join(OBJECTIVES)}": self.objective in OBJECTIVES,
            f"classes must be 1 to {MAX_CLASSES:,} printable texts": _are_classes(self.classes)
            and bool(self.classes or self.objective == "regression"),
            f"pools must be some of {', '.join(POOLS)}": bool(self.pools) and set(map(str, self.pools)) <= set(POOLS),
            f"n_class_tokens must lie in 0 to {MAX_CLASS_TOKENS:,}": 0 <= self.n_class_tokens <= MAX_CLASS_TOKENS,
            f"window must lie in 1 to {MAX_WINDOW:,}": 1 <= self.window <= MAX_WINDOW,
            "stride must lie in 1 to the window": 1 <= self.stride <= self.window,
            "temperature must be positive": self.temperature > 0,
            "joined_temperature must be a positive number": isinstance(joined, int | float) and 0 < joined < math.inf,
            f"blocks must be increasing numbers up to {MAX_DEPTH:,}": _are_blocks(self.blocks),
        }
        return [rule for rule, holds in rules.items() if not holds]

    @property
    def n_outputs(self) -> int:
        """Number of outputs of the head: one per class, or one."""
        return 1 if self.objective == "regression" else len(self.classes)

    def n_features(self, channels: int) -> int:
        """F, the number of features of the head, for a network with this many channels."""
        width = channels * max(1, len(self.blocks))
        return n_features(self.pools, channels=width, n_class_tokens=self.n_class_tokens)


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


def find_task(name: str) -> Path:
    """The folder of a run directory, or of a built-in task's trained head.

    Raises:
        ModelError: A folder is not a run directory, or its training was not finished.
        ConfigError: There is no such folder or task (the nearest is suggested), or no weights are shipped for it.
    """
    path = Path(name)
    if (path / "config.json").is_file():
        return path
    if (path / PLAN).is_file():
        raise ModelError(f"task {name}: its training is not finished; resume its fine-tuning")
    if path.exists() and name not in task_names():
        what = "holds no config.json" if path.is_dir() else "is a file"
        raise ModelError(f"task {name}: {what}; a task is a run directory of `findna finetune`")
    if name in (folder.name for folder in shipped_models()):
        raise ModelError(f"task {name}: it is a pretrained model, of which a fine-tuning makes a task")
    return find_head(name)


def load_task(name: str | Path) -> TaskModel:
    """Load a task model; a damaged one is an error.

    Args:
        name: A run directory of `findna finetune`, or the name of a built-in task.

    Raises:
        ModelError: It is not to be found, unfinished, a plain teacher, damaged, or its head does not fit its teacher.
        ConfigError: As in `find_task`.
    """
    phases.enter(f"loading {name}")
    folder = find_task(str(name))
    config = _read_json(folder, "config.json")
    what = f"task {folder}"
    if config.get("schema") != SCHEMA:
        hint = "; it is a pretrained model, of which a fine-tuning makes a task" if "model" in config else ""
        raise ModelError(f"task {folder}: config.json does not have schema {SCHEMA!r}{hint}")
    check_digest(config, f"task {folder}")
    if config.get("alphabet") != ALPHABET:
        raise ModelError(f"task {folder}: its alphabet is {config.get('alphabet')!r}, not {ALPHABET!r}")
    try:
        check_facts(config, what, objects=("settings", "teacher", "encoder", "head", "training"))
        settings, teacher = _settings_of(config["settings"]), config["teacher"]
        encoder, shape = config["encoder"], config["head"]
        if (folder / "model.safetensors").is_file():
            size = ModelConfig.from_dict(encoder["model"])
            network = _filled(make_encoder(size), folder, "model.safetensors", encoder["sha256"], size.n_parameters)
        else:
            network = _teacher_of(folder, teacher, encoder["sha256"])
        network.depths(settings.blocks)  # there are such blocks
        n_features, hidden = _head_size(shape)
        expected = settings.n_features(network.config.channels)
        if n_features != expected:
            raise ModelError(f"{what}: the head needs {n_features:,} features, and the encoder has {expected:,}")
        n_values = (n_features + 1) * (hidden + 2) + settings.n_outputs * (max(hidden, n_features) + 1)
        head = Head(n_features, settings.n_outputs, hidden=hidden)
        head = _filled(head, folder, "head.safetensors", shape["sha256"], n_values)
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{what}: weights and config.json do not go together: {error}") from error
    network.requires_grad_(False).eval()
    head.requires_grad_(False).eval()
    return TaskModel(
        name=str(config.get("name", folder.resolve().name)),
        path=folder,
        network=network,
        head=head,
        settings=settings,
        teacher=teacher,
        sha256=sha256_of(encoder["sha256"], shape["sha256"], settings),
        metrics=_read_json(folder, "metrics.json"),
        training=config.get("training", {}),
    )


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


def _settings_of(values: Mapping[str, Any]) -> TaskSettings:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return TaskSettings(**fields)


def _teacher_of(folder: Path, teacher: Mapping[str, Any], expected: str) -> Encoder:
    found = read_config(find_model(teacher["name"])).get("sha256")
    if found != expected:
        raise ModelError(
            f"task {folder}: its head was trained on teacher {teacher['name']} with sha256 {expected[:12]}..., and the "
            f"teacher of that name here has {str(found)[:12]}...: train the head again, or use the other teacher"
        )
    return load_model(teacher["name"]).network


Part = TypeVar("Part", bound=nn.Module)


def _filled(part: Part, folder: Path, name: str, expected: object, n_parameters: int) -> Part:
    """Fill a network or head with the tensors of a file."""
    load_tensors(read_weights(folder / name, f"task {folder}", expected=expected, n_parameters=n_parameters), part)
    return part


def _head_size(shape: Mapping[str, Any]) -> tuple[int, int]:
    """Features and hidden units of a head, from config.json."""
    sizes = shape["n_features"], shape["hidden"]
    if not all(type(size) is int and 0 <= size <= most for size, most in zip(sizes, _MOST_HEAD, strict=True)):
        raise ValueError(f"a head of n_features {shown(sizes[0])} and hidden {shown(sizes[1])}")
    return sizes


def _are_classes(classes: Any) -> bool:
    is_list = isinstance(classes, tuple) and len(classes) <= MAX_CLASSES
    return is_list and all(isinstance(name, str) and name.isprintable() for name in classes)


def _are_blocks(blocks: Any) -> bool:
    if not isinstance(blocks, tuple) or not all(type(block) is int and 0 <= block <= MAX_DEPTH for block in blocks):
        return False
    return all(block < after for block, after in pairwise(blocks))


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    try:
        content = read_json(folder / name)
    except (OSError, ValueError) as error:
        raise ModelError(f"task {folder}: {name} cannot be read: {system_reason(error)}") from error
    if not isinstance(content, dict):
        raise ModelError(f"task {folder}: {name} is not an object")
    return content


def sha256_of(encoder: str, head: str, settings: TaskSettings) -> str:
    return hashlib.sha256(json.dumps([encoder, head, asdict(settings)]).encode()).hexdigest()
