"""The plan of a training; its run directory keeps it, so that a resume needs nothing else."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from findna.data.labelled import LabelledSet, read_labelled, split_off, warn_of_shared
from findna.data.labels import read_class_names
from findna.errors import ConfigError, InputError, TrainingError
from findna.io.source import kind_of, refuse_unused_genome
from findna.io.structured import parse_json, read_text
from findna.models.folders import DEFAULT
from findna.models.store import load_model
from findna.models.task_settings import PLAN
from findna.recipes import MODEL_SETTINGS, PRESETS, FinetuneConfig, PretrainConfig, gpu_batch_size
from findna.sizes import ModelConfig
from findna.tasks.catalog import read_recipe
from findna.train.options import FinetuneOptions, PretrainOptions
from findna.train.sources import find_genome


@dataclass(frozen=True)
class Plan:
    """A recipe, `config`, and what to train on.

    Attributes:
        FILE: Where a run directory keeps it.
        PLACES: Files, which may have another name in a resume: their content is compared.
    """

    FILE: ClassVar[str]
    PLACES: ClassVar[tuple[str, ...]]
    config: Any

    @classmethod
    def _split(cls, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Split settings into (fields of the plan, settings of its recipe)."""
        own = {f.name for f in dataclasses.fields(cls)}
        parts: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        for name, value in given.items():
            parts[name not in own][name] = value
        return parts

    def asked(self) -> dict[str, Any]:
        """Everything except the recipe, for the file."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "config"}

    def decisive(self) -> dict[str, Any]:
        """Settings that a repeated run must share, besides the recipe and the content of files."""
        return {name: value for name, value in self.asked().items() if name not in self.PLACES}

    @classmethod
    def read(cls, out: Path) -> Self:
        """The plan of a run directory.

        Raises:
            TrainingError: There is none, or it is damaged.
        """
        try:
            text = read_text(out / cls.FILE)
        except OSError as error:
            raise TrainingError(f"{out}: nothing to resume: no {cls.FILE}") from error
        except ValueError as error:
            raise TrainingError(f"{out / cls.FILE}: damaged: {error}") from error
        return cls.parse(text, out / cls.FILE)

    @classmethod
    def parse(cls, text: str, path: Path) -> Self:
        """The plan in the text of the file `path`.

        Raises:
            TrainingError: It is damaged.
        """
        try:
            stored = parse_json(text)
            asked: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in stored["plan"].items()
            }
            return cls(cls._read_config(stored["config"]), **asked)
        except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
            raise TrainingError(f"{path}: damaged, or of another version of findna: {error!r}") from error

    @classmethod
    def _read_config(cls, values: Mapping[str, Any]) -> Any:
        raise NotImplementedError

    def follow(self, given: Mapping[str, Any]) -> Self:
        """The plan of a resumed run, with the given files, genome and teacher instead of its own.

        Raises:
            ConfigError: Another given setting differs from the plan.
        """
        own, settings = self._split(given)
        network = {name for name in settings if name in MODEL_SETTINGS}
        stored = {name: getattr(self, name) for name in own}
        stored |= {name: getattr(self.config.model if name in network else self.config, name) for name in settings}
        for name, value in given.items():
            if name not in self.PLACES and value != stored[name]:
                raise ConfigError(f"{name}={_text(value)} differs from {_text(stored[name])} of the resumed run")
        return dataclasses.replace(self, **{name: given[name] for name in self.PLACES if name in given})


@dataclass(frozen=True)
class PretrainPlan(PretrainOptions, Plan):
    """The request of `findna pretrain`.

    Args:
        config: The recipe, with the differences from the preset.
        inputs: FASTA files, as on the command line.
        genome: Genome, as named or found; "" with inputs.
    """

    FILE = "pretrain.json"
    PLACES = ("inputs", "genome")
    config: PretrainConfig = field(default_factory=lambda: PRESETS["small"])
    inputs: tuple[str, ...] = ()
    genome: str = ""

    @classmethod
    def make(cls, given: Mapping[str, Any], *, n_gpus: int = 0) -> Self:
        """The plan of a new run.

        Args:
            given: Fields of a plan or of a recipe; the others are those of the preset, and a genome that is found.
            n_gpus: Number of GPUs, which determines the batch size if none is given.

        Raises:
            ConfigError: The preset does not exist, a setting is out of range, or one contradicts another.
            InputError: No input is given, and no genome is found.
        """
        preset = given.get("preset", "small")
        if preset not in PRESETS:
            raise ConfigError(f"preset must be one of {', '.join(PRESETS)}, not {preset!r}")
        _check_sources(given)
        if "steps" in given and "time_budget" in given:
            raise ConfigError("give steps=N or time_budget=TIME, not both")
        own, settings = cls._split(given)
        config = PRESETS[preset]
        if n_gpus:
            config = dataclasses.replace(config, batch_size=gpu_batch_size(preset, n_gpus))
        if own.get("initial"):
            config = dataclasses.replace(config, model=_same_size(load_model(own["initial"]).config, settings))
        plan = cls(config.changed(**settings), **own)
        return plan if plan.inputs or plan.genome else dataclasses.replace(plan, genome=str(find_genome()))

    @classmethod
    def _read_config(cls, values: Mapping[str, Any]) -> PretrainConfig:
        return PretrainConfig.from_dict(values)

    def follow(self, given: Mapping[str, Any]) -> Self:
        """See `Plan.follow`; a genome replaces inputs, and inputs a genome."""
        _check_sources(given)
        other = {"genome": ""} if "inputs" in given else {"inputs": ()} if "genome" in given else {}
        return super().follow({**given, **other})


@dataclass(frozen=True)
class TaskPlan(FinetuneOptions, Plan):
    """The request of `findna finetune`.

    Args:
        config: The recipe, with the differences from the preset.
        inputs: Files of the training split, as on the command line.
        valid: Files of the validation split; () splits `valid_fraction` off.
        test: Files of the test split.
        genome: Genome of the BED files.
        model: The teacher.
    """

    FILE = PLAN
    PLACES = ("inputs", "valid", "test", "genome", "model")
    config: FinetuneConfig = field(default_factory=FinetuneConfig)
    inputs: tuple[str, ...] = ()
    valid: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    genome: str = ""
    model: str = DEFAULT

    @classmethod
    def make(cls, given: Mapping[str, Any]) -> Self:
        """The plan of a new run.

        Args:
            given: Fields of a plan or of a recipe; the others are those of the preset.

        Raises:
            ConfigError: The preset is not known, no input is given, a setting is out of range, or two settings
                contradict each other.
        """
        recipe = read_recipe(given.get("preset", "default"))
        if not given.get("inputs"):
            raise ConfigError("name a table of labelled sequences, or one FASTA or BED file per class")
        if "valid" in given and "valid_fraction" in given:
            raise ConfigError("give valid=FILE or valid_fraction=FRACTION, not both")
        own, settings = cls._split(given)
        return cls(dataclasses.replace(recipe, **settings), **own)

    @classmethod
    def _read_config(cls, values: Mapping[str, Any]) -> FinetuneConfig:
        return FinetuneConfig.from_dict(values)

    def load(self) -> tuple[LabelledSet, LabelledSet, LabelledSet | None]:
        """The splits (train, valid, test), read and checked; the others may have only the classes of the first.

        Raises:
            InputError: A file is invalid.
            ConfigError: The files cannot be combined.
        """
        common: dict[str, Any] = {
            "genome": self.genome or None,
            "sequence_column": self.sequence_column,
            "label_column": self.label_column,
        }
        names = read_class_names(self.class_names) if self.class_names else None
        train = read_labelled(self.inputs, objective=self.objective, class_names=names, **common)
        common |= {"objective": train.objective, "classes": train.classes, "class_names": train.names or None}
        test = read_labelled(self.test, **common) if self.test else None
        valid = read_labelled(self.valid, **common) if self.valid else None
        refuse_unused_genome(self.genome, map(kind_of, (*self.inputs, *self.valid, *self.test)))
        for split in (valid, test):
            _refuse_shared(train, split)
        if valid:
            return train, valid, test
        return *split_off(train, fraction=self.valid_fraction, seed=self.config.seed), test


def _same_size(model: ModelConfig, settings: Mapping[str, Any]) -> ModelConfig:
    """The size of the initial weights, which no setting may change."""
    for name in MODEL_SETTINGS:
        own = getattr(model, name)
        if settings.get(name, own) != own:
            raise ConfigError(f"{name} {settings[name]} differs from {own} of the initial weights")
    return model


def _check_sources(given: Mapping[str, Any]) -> None:
    if "inputs" in given and "genome" in given:
        raise ConfigError("give FASTA files or genome=FILE, not both")


def _refuse_shared(train: LabelledSet, other: LabelledSet | None) -> None:
    """Raise if a file of another split equals a training file; warn of shared sequences.

    Raises:
        InputError: It does, so its figures would be those of training sequences.
    """
    of_training = {digest: path for path, digest in train.sources.items()}
    for path, digest in (other.sources if other else {}).items():
        if digest in of_training:
            raise InputError(f"has the same content as the training file {of_training[digest]}", path=path)
    if other:
        warn_of_shared(train, other)


def _text(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else "none" if value is None else str(value)
