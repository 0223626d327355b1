"""Task folders: found, and their settings read; nothing here loads torch."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from findna.config import POOLS
from findna.errors import ConfigError, ModelError, UnknownModelError, system_reason
from findna.io.structured import read_json
from findna.limits import MAX_CLASS_TOKENS, MAX_CLASSES, MAX_DEPTH, MAX_SIZES, MAX_WINDOW, shown, wrong_types
from findna.models.folders import find_model, read_model, shipped_models
from findna.models.manifest import check_digest
from findna.models.parts import check_facts, one_model, read_weights
from findna.recipes import OBJECTIVES
from findna.sequence import ALPHABET
from findna.sizes import ModelConfig, n_features
from findna.tasks.catalog import find_head, task_names

SCHEMA = "findna-task/1"
_PRETRAINED = "a pretrained model; `findna finetune` makes a task from it"
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


def class_of(settings: TaskSettings, label: str, *, task: str) -> str:
    """The class of this name; "" is the second one of two, or the only one. Not for a regression.

    Raises:
        ConfigError: There is no such class, or there are more than two and none is named.
    """
    classes = settings.classes
    if not label and len(classes) <= 2:
        return classes[-1]
    if label not in classes:
        reason = f"has no class {label!r}" if label else "has more than two classes: name one, label=NAME"
        raise ConfigError(f"task {task}: {reason}; its classes are {', '.join(classes)}")
    return label


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
        raise ModelError(f"task {name}: it is {_PRETRAINED}")
    return find_head(name)


@dataclass(frozen=True)
class TaskFolder:
    """The content of a task folder, with the sha256 of each part checked; weights are bytes.

    Args:
        config: Its `config.json`.
        settings: How hidden states become predictions.
        size: Of the encoder.
        encoder: The encoder's weights, its own or those of the teacher.
        n_features: Number of features of the head.
        hidden: Its number of hidden units.
        head: The head's weights.
        metrics: Content of `metrics.json`.
    """

    config: dict[str, Any]
    settings: TaskSettings
    size: ModelConfig
    encoder: bytes
    n_features: int
    hidden: int
    head: bytes
    metrics: dict[str, Any]

    @property
    def sha256(self) -> str:
        """Of everything that determines the outputs of the task."""
        return sha256_of(self.config["encoder"]["sha256"], self.config["head"]["sha256"], self.settings)


def read_task_folder(folder: Path) -> TaskFolder:
    """Read a task folder, without a network.

    Raises:
        ModelError: It is damaged, was edited, is not ours, or its teacher is not found.
    """
    config = _read_object(folder, "config.json")
    what = f"task {folder}"
    if config.get("schema") != SCHEMA:
        hint = f"; it is {_PRETRAINED}" if "model" in config else ""
        raise ModelError(f"{what}: config.json does not have schema {SCHEMA!r}{hint}")
    check_digest(config, what)
    if config.get("alphabet") != ALPHABET:
        raise ModelError(f"{what}: its alphabet is {config.get('alphabet')!r}, not {ALPHABET!r}")
    with one_model(what):
        check_facts(config, what, objects=("settings", "teacher", "encoder", "head", "training"))
        settings, teacher = _settings_of(config["settings"]), config["teacher"]
        encoder, shape = config["encoder"], config["head"]
        if (folder / "model.safetensors").is_file():
            size = ModelConfig.from_dict(encoder["model"])
            content = _weights(folder, "model.safetensors", encoder["sha256"], size.n_parameters)
        else:
            size, content = _read_teacher(folder, teacher["name"], encoder["sha256"])
        n_features, hidden = _head_size(shape)
        n_values = (n_features + 1) * (hidden + 2) + settings.n_outputs * (max(hidden, n_features) + 1)
        head = _weights(folder, "head.safetensors", shape["sha256"], n_values)
    metrics = _read_object(folder, "metrics.json")
    return TaskFolder(config, settings, size, content, n_features, hidden, head, metrics)


def _settings_of(values: Mapping[str, Any]) -> TaskSettings:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return TaskSettings(**fields)


def _read_teacher(folder: Path, name: str, expected: str) -> tuple[ModelConfig, bytes]:
    try:
        config, size, content = read_model(find_model(name))
    except UnknownModelError as error:
        raise ModelError(f"task {folder}: its teacher is not found: {error}") from error
    found = config["sha256"]
    if found != expected:
        raise ModelError(
            f"task {folder}: its head was trained on teacher {name} with sha256 {expected[:12]}..., and the "
            f"teacher of that name here has {found[:12]}...: train the head again, or use the other teacher"
        )
    return size, content


def _weights(folder: Path, name: str, expected: object, n_parameters: int) -> bytes:
    return read_weights(folder / name, f"task {folder}", expected=expected, n_parameters=n_parameters)


def _head_size(shape: Mapping[str, Any]) -> tuple[int, int]:
    """Features and hidden units of a head, from config.json."""
    sizes = shape["n_features"], shape["hidden"]
    if not all(type(size) is int and 0 <= size <= most for size, most in zip(sizes, _MOST_HEAD, strict=True)):
        raise ValueError(f"a head of n_features {shown(sizes[0])} and hidden {shown(sizes[1])}")
    return sizes


def _read_object(folder: Path, name: str) -> dict[str, Any]:
    try:
        content = read_json(folder / name)
    except (OSError, ValueError) as error:
        raise ModelError(f"task {folder}: {name} cannot be read: {system_reason(error)}") from error
    if not isinstance(content, dict):
        raise ModelError(f"task {folder}: {name} is not an object")
    return content


def sha256_of(encoder: str, head: str, settings: TaskSettings) -> str:
    """The sha256 of everything that determines the outputs of a task: those of both parts, and the settings."""
    return hashlib.sha256(json.dumps([encoder, head, asdict(settings)]).encode()).hexdigest()


def _are_classes(classes: Any) -> bool:
    is_list = isinstance(classes, tuple) and len(classes) <= MAX_CLASSES
    return is_list and all(isinstance(name, str) and name.isprintable() for name in classes)


def _are_blocks(blocks: Any) -> bool:
    if not isinstance(blocks, tuple) or not all(type(block) is int and 0 <= block <= MAX_DEPTH for block in blocks):
        return False
    return all(block < after for block, after in pairwise(blocks))
