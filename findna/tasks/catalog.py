"""The built-in tasks: what each is, where its data comes from, how to train it, and where its trained head lies."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from findna.errors import ConfigError, did_you_mean, system_reason
from findna.io.structured import read_toml
from findna.recipes import OBJECTIVES, FinetuneConfig

FOLDER = Path(__file__).parent
HEADS = FOLDER / "heads"
"""Task folders as `findna.models.save_task.save_task` writes them, one per task that has weights."""

PAPER = FinetuneConfig(pool="mean", warmup=0.3, warmup_steps=0, head_rate=1.0, strand="bed", select="loss", patience=0)
"""Shared by the recipes of Yu et al. 2024; `Task.paper` says how one differs: sections 4.3 (tables 1 and 2), 4.4
(table 3; weight decay is not stated) and 4.5 (table 5; nothing is stated; taken as in 4.4, without dropout)."""

METRICS = {"accuracy": "accuracy", "macro_f1": "macro F1", "mcc": "MCC", "auroc": "AUROC"}
"""The metrics of every classification, in the order of the tables, and the name of each there."""


@dataclass(frozen=True)
class Task:
    """A built-in task, as its file describes it.

    Args:
        name: Name of its file, and on the command line.
        title: What it distinguishes, on one line.
        suite: Benchmark that it belongs to: gue, genomic-benchmarks or mtcdna.
        dataset: Its name there.
        objective: One of `findna.recipes.OBJECTIVES`.
        classes: Name of each label of the data set, in order.
        metric: The figure that is quoted for it, one of `METRICS`.
        length: Bases of its sequences, or their median.
        published: Table of the paper that has a figure, "" where none has.
        source: Who made the data.
        url: Where it is available.
        licence: Of the data.
        preset: Recipe of `findna finetune`, see `read_recipe`.
        train: Files of the training split.
        valid: Files of the validation split; () where a tenth of the training split serves.
        test: Files of the test split.
        flags: What the recipe changes of the preset, as flags.
        teacher: Flags of `findna pretrain` on the training sequences, where the task has a teacher of its own.
        not_for: What its predictions must not be used for.
        prepare: How these files come from the download.
        paper: How the paper's recipe for it differs from `PAPER`; {} where the paper does not have it.
    """

    name: str
    title: str
    suite: str
    dataset: str
    objective: str
    classes: Mapping[str, str]
    metric: str
    length: int
    source: str
    url: str
    licence: str
    preset: str
    train: tuple[str, ...]
    valid: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    teacher: tuple[str, ...] = ()
    not_for: str = ""
    published: str = ""
    prepare: str = ""
    paper: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = [f"no {what}" for what in ("title", "source", "licence", "train") if not getattr(self, what)]
        presets = ("default", *([self.name] if self.paper else []))
        for what, known in (("objective", OBJECTIVES), ("metric", METRICS), ("preset", presets)):
            if getattr(self, what) not in known:
                problems.append(f"{what} {getattr(self, what)!r} is none of {', '.join(known)}")
        if problems:
            raise ConfigError(f"task {self.name}: {'; '.join(problems)}")

    @property
    def head(self) -> Path:
        """The folder of its trained head, where it has one."""
        return HEADS / self.name

    @property
    def has_weights(self) -> bool:
        """Whether a trained head comes with the package."""
        return (self.head / "config.json").is_file()


def task_names() -> list[str]:
    """Names of all built-in tasks, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_task(name: str, *, with_weights: bool = False) -> Task:
    """A built-in task.

    Args:
        name: Its name.
        with_weights: Whether to suggest only tasks that have weights for a name that is not known.

    Raises:
        ConfigError: There is none of that name (the nearest is suggested), or its file is damaged.
    """
    path = FOLDER / f"{name}.toml"
    if name not in task_names():
        known = [one for one in task_names() if not with_weights or (HEADS / one / "config.json").is_file()]
        hint = did_you_mean(name, known)
        raise ConfigError(
            f"task {name}: neither a run directory of `findna finetune` nor a built-in task{hint} "
            "(`findna task list` shows them)"
        )
    try:
        values = read_toml(path)
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return Task(name=name, **fields)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"task {name}: {path} cannot be read: {system_reason(error)}") from error


def recipe_names() -> list[str]:
    """The presets of `findna finetune`: "default", and the tasks of the paper."""
    return ["default", *(name for name in task_names() if read_task(name).paper)]


def read_recipe(preset: str) -> FinetuneConfig:
    """The recipe of a preset.

    Raises:
        ConfigError: The preset does not exist.
    """
    if preset == "default":
        return FinetuneConfig()
    if preset not in recipe_names():
        raise ConfigError(f"preset must be one of {', '.join(recipe_names())}, not {preset!r}")
    return dataclasses.replace(PAPER, **read_task(preset).paper)


def find_head(name: str) -> Path:
    """The folder of a built-in task's trained head.

    Raises:
        ConfigError: The task does not exist, or findna ships no weights for it: the text says how to train them.
    """
    task = read_task(name, with_weights=True)
    if not task.has_weights:
        raise ConfigError(
            f"task {name}: findna ships no weights for it. Its data: {task.source}, {task.url}. "
            f"`findna task info {name}` shows how to train it; then classify with task=runs/{name}"
        )
    return task.head
