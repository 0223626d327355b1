"""Task models: a run directory with encoder, head, classes and calibration; load, save, scores to probabilities."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F

from findna.config import OBJECTIVES, ModelConfig
from findna.errors import ConfigError, ModelError
from findna.io.files import raise_output_error, write_atomic
from findna.models.store import find_model, load_model, read_config, shipped_models
from findna.nn.encoder import Encoder
from findna.nn.heads import Head
from findna.nn.mixers import make_encoder
from findna.nn.pooling import n_features
from findna.sequence import ALPHABET
from findna.tasks.catalog import find_head, task_names

SCHEMA = "findna-task/1"
PLAN = "finetune.json"
"""What a run directory has from its first second on; `config.json` comes with the end."""


@dataclass(frozen=True)
class TaskSettings:
    """How hidden states become answers.

    Args:
        objective: One of `findna.config.OBJECTIVES`.
        classes: Names of the outputs, in order; () for a regression.
        pools: What the features are made of, in order.
        n_class_tokens: Class tokens at the end of each ring; 0 without.
        window: Longest piece of a sequence, in bases.
        stride: Bases between two windows.
        temperature: Divides the scores of a sequence before they become probabilities; 1 is uncalibrated.
        joined_temperature: The same for a sequence of more than one window; None: as `temperature`.
        blocks: After how many blocks the hidden states are read, rising; (): after all.
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

    @property
    def n_outputs(self) -> int:
        """Values that the head gives: one a class, or one."""
        return 1 if self.objective == "regression" else len(self.classes)

    def n_features(self, channels: int) -> int:
        """F, the values of a sequence that the head takes, of a network of so many channels."""
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
        sha256: Of what decides its outputs: encoder, head and settings.
        metrics: Content of `metrics.json`: figures by split.
        training: How it was trained, as `config.json` has it.
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
        ModelError: A folder is no run directory, or its training was not finished.
        ConfigError: There is no such folder or task (the nearest is suggested), or no weights are shipped for it.
    """
    path = Path(name)
    if (path / "config.json").is_file():
        return path
    if (path / PLAN).is_file():
        raise ModelError(f"task {name}: its training is not finished; `findna finetune --resume --out {name}` goes on")
    if path.exists() and name not in task_names():
        what = "holds no config.json" if path.is_dir() else "is a file"
        raise ModelError(f"task {name}: {what}; a task is a run directory of `findna finetune`")
    if name in (folder.name for folder in shipped_models()):
        raise ModelError(f"task {name}: it is a teacher: `findna finetune --model {name}` makes a task of it")
    return find_head(name)


def load_task(name: str | Path) -> TaskModel:
    """Load a task model whole, or not at all.

    Args:
        name: A run directory of `findna finetune`, or the name of a built-in task.

    Raises:
        ModelError: It is not to be found, unfinished, a plain teacher, damaged, or its head does not fit its teacher.
        ConfigError: As in `find_task`.
    """
    folder = find_task(str(name))
    config = _read_json(folder, "config.json")
    if config.get("schema") != SCHEMA:
        hint = "; it is a teacher: `findna finetune --model` makes a task of it" if "model" in config else ""
        raise ModelError(f"task {folder}: config.json does not say schema {SCHEMA!r}{hint}")
    if config.get("alphabet") != ALPHABET:
        raise ModelError(f"task {folder}: its alphabet is {config.get('alphabet')!r}, not {ALPHABET!r}")
    try:
        settings, teacher = _settings_of(config["settings"]), config["teacher"]
        encoder, shape = config["encoder"], config["head"]
        head_bytes = _read_part(folder, "head.safetensors", shape["sha256"])
        if (folder / "model.safetensors").is_file():
            content = _read_part(folder, "model.safetensors", encoder["sha256"])
            network = make_encoder(ModelConfig.from_dict(encoder["model"]))
            network.load_state_dict(load(content))
        else:
            network = _teacher_of(folder, teacher, encoder["sha256"])
        network.depths(settings.blocks)  # there are such blocks
        head = Head(shape["n_features"], settings.n_outputs, hidden=shape["hidden"])
        expected = settings.n_features(network.config.channels)
        if head.n_features != expected:
            raise ModelError(
                f"task {folder}: the head takes {head.n_features} features and the encoder gives {expected}"
            )
        head.load_state_dict(load(head_bytes))
    except (SafetensorError, RuntimeError, ConfigError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"task {folder}: weights and config.json do not go together: {error}") from error
    network.requires_grad_(False).eval()
    head.requires_grad_(False).eval()
    return TaskModel(
        name=str(config.get("name", folder.resolve().name)),
        path=folder,
        network=network,
        head=head,
        settings=settings,
        teacher=teacher,
        sha256=_sha256_of(encoder["sha256"], shape["sha256"], settings),
        metrics=_read_json(folder, "metrics.json"),
        training=config.get("training", {}),
    )


def save_task(
    folder: Path,
    network: Encoder,
    head: Head,
    *,
    name: str,
    settings: TaskSettings,
    teacher: Mapping[str, Any],
    metrics: Mapping[str, Any],
    training: Mapping[str, Any],
    card: str,
    with_encoder: bool = True,
) -> TaskModel:
    """Write a task folder and give what `load_task` will give; `config.json`, which makes it one, comes last.

    Args:
        folder: Made where absent.
        network: The encoder; stored in bf16.
        head: The head; stored in float32.
        name: Of the task.
        settings: How to use them.
        teacher: `name` and `sha256` of the teacher it started from.
        metrics: Figures by split.
        training: How it was trained; anything that is JSON.
        card: Text of CARD.md.
        with_encoder: False leaves the encoder out: the teacher itself is looked up, by name and sha256.

    Raises:
        OutputError: The folder cannot be made or written.
    """
    content, stored = encode_parts(network, head)
    encoder_sha = hashlib.sha256(content["model.safetensors"]).hexdigest() if with_encoder else teacher["sha256"]
    head_sha = hashlib.sha256(content["head.safetensors"]).hexdigest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").unlink(missing_ok=True)
        if not with_encoder:
            (folder / "model.safetensors").unlink(missing_ok=True)
    except OSError as error:
        raise_output_error(error, folder)
    if with_encoder:
        write_atomic(folder / "model.safetensors", content["model.safetensors"])
    write_atomic(folder / "head.safetensors", content["head.safetensors"])
    write_atomic(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    write_atomic(folder / "CARD.md", card)
    config = {
        "schema": SCHEMA,
        "name": name,
        "alphabet": ALPHABET,
        "settings": asdict(settings),
        "encoder": {"model": network.config.to_dict(), "sha256": encoder_sha},
        "head": {"n_features": head.n_features, "hidden": head.hidden, "sha256": head_sha},
        "teacher": dict(teacher),
        "training": dict(training),
    }
    write_atomic(folder / "config.json", json.dumps(config, indent=2) + "\n")
    return TaskModel(
        name=name,
        path=folder,
        network=stored[0],
        head=stored[1],
        settings=settings,
        teacher=teacher,
        sha256=_sha256_of(encoder_sha, head_sha, settings),
        metrics=metrics,
        training=training,
    )


def encode_parts(network: Encoder, head: Head) -> tuple[dict[str, bytes], tuple[Encoder, Head]]:
    """The files of encoder and head, and both as they will be read from them: the encoder rounded to bf16."""
    encoder = _cpu(network, torch.bfloat16)
    weights = _cpu(head, torch.float32)
    stored = make_encoder(network.config)
    stored.load_state_dict(encoder)
    copy = Head(head.n_features, head.n_outputs, hidden=head.hidden)
    copy.load_state_dict(weights)
    files = {"model.safetensors": save(encoder), "head.safetensors": save(weights)}
    return files, (stored.requires_grad_(False).eval(), copy.requires_grad_(False).eval())


def log_scores(outputs: Tensor, objective: str) -> Tensor:
    """What the windows of a sequence are averaged as: log-probabilities, logits (multilabel) or values; same shape."""
    return F.log_softmax(outputs.float(), dim=-1) if objective == "classification" else outputs.float()


def probabilities(scores: NDArray[np.floating[Any]], settings: TaskSettings, is_joined: Any) -> NDArray[np.float64]:
    """Calibrated probabilities of joined scores, shape (n, n_outputs); for a regression the values as they are.

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
    settings = TaskSettings(**fields)
    if settings.objective not in OBJECTIVES:
        raise ValueError(f"objective {settings.objective!r}")
    return settings


def _teacher_of(folder: Path, teacher: Mapping[str, Any], expected: str) -> Encoder:
    found = read_config(find_model(teacher["name"])).get("sha256")
    if found != expected:
        raise ModelError(
            f"task {folder}: its head was trained on teacher {teacher['name']} with sha256 {expected[:12]}..., and the "
            f"teacher of that name here has {str(found)[:12]}...: train the head again, or take the other teacher"
        )
    return load_model(teacher["name"]).network


def _read_part(folder: Path, name: str, expected: str) -> bytes:
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise ModelError(f"task {folder}: {name} cannot be read: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ModelError(
            f"task {folder}: {name} has sha256 {found[:12]}..., config.json says {expected[:12]}...: "
            "the file is damaged or not of this task; copy the folder again"
        )
    return content


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads((folder / name).read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"task {folder}: {name} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"task {folder}: {name} is no object")
    return content


def _sha256_of(encoder: str, head: str, settings: TaskSettings) -> str:
    return hashlib.sha256(json.dumps([encoder, head, asdict(settings)]).encode()).hexdigest()


def _cpu(module: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    return {key: value.detach().to("cpu", dtype).contiguous() for key, value in module.state_dict().items()}
