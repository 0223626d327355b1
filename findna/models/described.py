"""Models and tasks as their facts: what an output says of them; nothing here loads torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from findna import phases
from findna.models.folders import DEFAULT, find_model, read_model
from findna.models.parts import one_model
from findna.models.readout import ModelReadout
from findna.models.task_settings import TaskFolder, TaskSettings, find_task, read_task_folder
from findna.sizes import ModelConfig


@dataclass(frozen=True)
class ModelFacts:
    """A model folder whose parts were checked; the fields have the names of `findna.models.store.Model`.

    Args:
        name: Its name.
        path: The folder.
        config: Size of the network.
        sha256: Of `model.safetensors`.
        training: Summary of its training, from `config.json`.
        readout: The blocks and pools of its vectors.
        content: The bytes of its weights.
    """

    name: str
    path: Path
    config: ModelConfig
    sha256: str
    training: Mapping[str, Any]
    readout: ModelReadout
    content: bytes = field(repr=False)

    @property
    def window(self) -> int:
        """Maximum length of a window, in bases."""
        return self.config.window


@dataclass(frozen=True)
class TaskFacts:
    """A task folder whose parts were checked; the fields have the names of `findna.models.task.TaskModel`.

    Args:
        name: Of the task.
        path: Its folder.
        settings: How hidden states become predictions.
        teacher: `name` and `sha256` of the teacher it started from.
        parts: The content of the folder.
    """

    name: str
    path: Path
    settings: TaskSettings
    teacher: Mapping[str, Any]
    parts: TaskFolder = field(repr=False)

    @property
    def config(self) -> ModelConfig:
        """Size of the encoder."""
        return self.parts.size

    @property
    def sha256(self) -> str:
        """Of everything that determines its outputs."""
        return self.parts.sha256

    @property
    def window(self) -> int:
        """Maximum length of a window, in bases."""
        return self.settings.window


def describe_model(name: str | Path = DEFAULT) -> ModelFacts:
    """Read a model folder; see `findna.models.store.load_model`.

    Raises:
        ModelError: It is not found, not ours, or has the wrong sha256.
    """
    phases.enter(f"loading {name}")
    folder = find_model(str(name))
    config, size, content = read_model(folder)
    with one_model(f"model {folder}"):
        readout = ModelReadout.of_config(config)
        readout.check(size)
    name = str(config.get("name", folder.resolve().name))
    return ModelFacts(name, folder, size, str(config["sha256"]), config.get("training", {}), readout, content)


def describe_task(name: str | Path) -> TaskFacts:
    """Read a task folder; see `findna.models.task.load_task`.

    Raises:
        ModelError: It is not found, unfinished, a plain teacher, or damaged.
        ConfigError: As in `findna.models.task_settings.find_task`.
    """
    phases.enter(f"loading {name}")
    folder = find_task(str(name))
    parts = read_task_folder(folder)
    name = str(parts.config.get("name", folder.resolve().name))
    return TaskFacts(name, folder, parts.settings, parts.config["teacher"], parts)
