"""What a fine-tuning was asked for; `finetune.json` keeps it, so that a resume needs no more than the run directory."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from findna.config import FINETUNE_PRESETS, FinetuneConfig
from findna.data.labelled import LabelledSet, read_class_names, read_labelled, split_off, warn_of_shared
from findna.errors import ConfigError, InputError, TrainingError
from findna.io.structured import read_json
from findna.models.store import DEFAULT
from findna.models.task import PLAN

VALID_FRACTION = 0.1
"""What is split off where no validation split is named."""


@dataclass(frozen=True)
class TaskPlan:
    """A recipe and what to train on.

    Args:
        config: The recipe, with what departs from the preset.
        preset: The preset's name.
        inputs: Files of the training split as they were named.
        valid: Files of the validation split; () splits `valid_fraction` off.
        valid_fraction: Share of the training sequences to split off.
        test: Files of the test split.
        genome: Genome that BED files are on.
        model: The teacher.
        objective: As for `read_labelled`.
        sequence_column: As for `read_labelled`.
        label_column: As for `read_labelled`.
        class_names: As for `read_class_names`.
    """

    config: FinetuneConfig = field(default_factory=FinetuneConfig)
    preset: str = "default"
    inputs: tuple[str, ...] = ()
    valid: tuple[str, ...] = ()
    valid_fraction: float = VALID_FRACTION
    test: tuple[str, ...] = ()
    genome: str = ""
    model: str = DEFAULT
    objective: str = ""
    sequence_column: str = ""
    label_column: str = ""
    class_names: str = ""

    def asked(self) -> dict[str, Any]:
        """All but the recipe, for `finetune.json`."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "config"}


_OWN = {f.name for f in dataclasses.fields(TaskPlan)} - {"config"}
_PLACES = ("inputs", "valid", "test", "genome", "model")
"""What may be named otherwise when a run goes on: its content is compared."""


def make_task_plan(given: Mapping[str, Any]) -> TaskPlan:
    """The plan of a new run.

    Args:
        given: Fields of a plan or of a recipe; what is not given is the preset's.

    Raises:
        ConfigError: There is no such preset, nothing is named to train on, a setting is out of range, or two
            contradict each other.
    """
    preset = given.get("preset", "default")
    if preset not in FINETUNE_PRESETS:
        raise ConfigError(f"--preset must be one of {', '.join(FINETUNE_PRESETS)}, not {preset!r}")
    if not given.get("inputs"):
        raise ConfigError("name a table of labelled sequences, or one FASTA or BED file per class")
    if "valid" in given and "valid_fraction" in given:
        raise ConfigError("give --valid or --valid-fraction, not both")
    own = {name: value for name, value in given.items() if name in _OWN}
    settings = {name: value for name, value in given.items() if name not in _OWN}
    return TaskPlan(dataclasses.replace(FINETUNE_PRESETS[preset], **settings), **own)


def resume_task_plan(out: Path, given: Mapping[str, Any]) -> TaskPlan:
    """The plan of a run to go on with; files, genome and teacher that are given are taken instead of those it names.

    Raises:
        TrainingError: There is none, or it is damaged.
        ConfigError: Something given differs from it.
    """
    plan = read_task_plan(out)
    for name, value in given.items():
        stored = getattr(plan if name in _OWN else plan.config, name)
        if name not in _PLACES and value != stored:
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{flag}: {value} differs from {stored} of the resumed run")
    return dataclasses.replace(plan, **{name: given[name] for name in _PLACES if name in given})


def read_task_plan(out: Path) -> TaskPlan:
    """The plan in the `finetune.json` of a run directory.

    Raises:
        TrainingError: There is none, or it is damaged.
    """
    path = out / PLAN
    try:
        stored = read_json(path)
        asked: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in stored["plan"].items()
        }
        return TaskPlan(FinetuneConfig.from_dict(stored["config"]), **asked)
    except OSError as error:
        raise TrainingError(f"{out}: nothing to resume: no {PLAN}") from error
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise TrainingError(f"{path}: damaged, or of another version of findna: {error!r}") from error


def load_splits(plan: TaskPlan) -> tuple[LabelledSet, LabelledSet, LabelledSet | None]:
    """(train, valid, test) of a plan, read and checked: the other splits must keep to the classes of the first.

    Raises:
        InputError: A file is at fault.
        ConfigError: Files do not go together.
    """
    common: dict[str, Any] = {
        "genome": plan.genome or None,
        "sequence_column": plan.sequence_column,
        "label_column": plan.label_column,
    }
    names = read_class_names(plan.class_names) if plan.class_names else None
    train = read_labelled(plan.inputs, objective=plan.objective, class_names=names, **common)
    common |= {"objective": train.objective, "classes": train.classes, "class_names": train.names or None}
    test = read_labelled(plan.test, **common) if plan.test else None
    valid = read_labelled(plan.valid, **common) if plan.valid else None
    for split in (valid, test):
        _refuse_shared(train, split)
    if valid:
        return train, valid, test
    return *split_off(train, fraction=plan.valid_fraction, seed=plan.config.seed), test


def _refuse_shared(train: LabelledSet, other: LabelledSet | None) -> None:
    """Raise if a file of another split has the content of a training file, and warn of single sequences.

    Raises:
        InputError: It has: its figures would be those of sequences that were trained on.
    """
    of_training = {digest: path for path, digest in train.sources.items()}
    for path, digest in (other.sources if other else {}).items():
        if digest in of_training:
            raise InputError(f"has the same content as the training file {of_training[digest]}", path=path)
    if other:
        warn_of_shared(train, other)
