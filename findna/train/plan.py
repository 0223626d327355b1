"""What a run was asked for; `pretrain.json` keeps it, so that a resume needs no more than the run directory."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from findna.config import MODEL_SETTINGS, PRESETS, ModelConfig, PretrainConfig, gpu_batch_size
from findna.errors import ConfigError, TrainingError
from findna.io.structured import parse_json, read_text
from findna.models.store import load_model
from findna.train.sources import find_genome


@dataclass(frozen=True)
class Plan:
    """A recipe and what to train on.

    Args:
        config: The recipe, with what departs from the preset.
        preset: The preset's name.
        inputs: FASTA files as they were named.
        genome: Genome as it was named or found; "" with inputs.
        holdout: Contigs that are only measured on.
        n_held_out: Windows to measure on, at most.
        time_budget: Seconds to fit the run into, or None.
        initial: Model whose weights the run starts from; "" draws them.
    """

    config: PretrainConfig = field(default_factory=lambda: PRESETS["small"])
    preset: str = "small"
    inputs: tuple[str, ...] = ()
    genome: str = ""
    holdout: tuple[str, ...] = ()
    n_held_out: int = 128
    time_budget: float | None = None
    initial: str = ""

    def asked(self) -> dict[str, Any]:
        """All but the recipe, for `pretrain.json`."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "config"}


_OWN = {f.name for f in dataclasses.fields(Plan)} - {"config"}
_SOURCES = ("inputs", "genome")


def make_plan(given: Mapping[str, Any], *, n_gpus: int = 0) -> Plan:
    """The plan of a new run.

    Args:
        given: Fields of a plan or of a recipe; what is not given is the preset's, and the genome one that is found.
        n_gpus: GPUs that train; their number decides a batch size that is not given.

    Raises:
        ConfigError: There is no such preset, a setting is out of range, or one contradicts another.
        InputError: Nothing is named to train on, and no genome is found.
    """
    preset = given.get("preset", "small")
    if preset not in PRESETS:
        raise ConfigError(f"--preset must be one of {', '.join(PRESETS)}, not {preset!r}")
    _check_sources(given)
    if "steps" in given and "time_budget" in given:
        raise ConfigError("give --steps or --time-budget, not both")
    own = {name: value for name, value in given.items() if name in _OWN}
    settings = {name: value for name, value in given.items() if name not in _OWN}
    config = PRESETS[preset]
    if n_gpus:
        config = dataclasses.replace(config, batch_size=gpu_batch_size(preset, n_gpus))
    if own.get("initial"):
        config = dataclasses.replace(config, model=_same_size(load_model(own["initial"]).config, settings))
    plan = Plan(config.changed(**settings), **own)
    return plan if plan.inputs or plan.genome else dataclasses.replace(plan, genome=str(find_genome()))


def _same_size(model: ModelConfig, settings: Mapping[str, Any]) -> ModelConfig:
    """The size of the first weights, which no setting may change."""
    for name in MODEL_SETTINGS:
        own = getattr(model, name)
        if settings.get(name, own) != own:
            raise ConfigError(
                f"{name} {settings[name]} differs from {own} of the model whose weights the run starts from"
            )
    return model


def read_plan(out: Path) -> Plan:
    """The plan in the `pretrain.json` of a run directory.

    Raises:
        TrainingError: There is none, or it is damaged.
    """
    path = out / "pretrain.json"
    try:
        text = read_text(path)
    except OSError as error:
        raise TrainingError(f"{out}: nothing to resume: no pretrain.json") from error
    return parse_plan(text, path)


def parse_plan(text: str, path: Path) -> Plan:
    """The plan in the text of a `pretrain.json`, which `path` holds.

    Raises:
        TrainingError: It is damaged.
    """
    try:
        stored = parse_json(text)
        asked: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in stored["plan"].items()
        }
        return Plan(PretrainConfig.from_dict(stored["config"]), **asked)
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise TrainingError(f"{path}: damaged, or of another version of findna: {error!r}") from error


def resume_plan(out: Path, given: Mapping[str, Any]) -> Plan:
    """The plan of a run to go on with; inputs or a genome that are given are taken instead of those it names.

    Raises:
        TrainingError: There is none, or it is damaged.
        ConfigError: Something given differs from it.
    """
    return follow_plan(read_plan(out), given)


def follow_plan(plan: Plan, given: Mapping[str, Any]) -> Plan:
    """A plan that is gone on with; inputs or a genome that are given are taken instead of those it names.

    Raises:
        ConfigError: Something given differs from it.
    """
    _check_sources(given)
    for name, value in given.items():
        config = plan.config.model if name in MODEL_SETTINGS else plan.config
        stored = getattr(plan if name in _OWN else config, name)
        if name not in _SOURCES and value != stored:
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{flag}: {_text(value)} differs from {_text(stored)} of the resumed run")
    named = {name: given[name] for name in _SOURCES if name in given}
    return dataclasses.replace(plan, **{"inputs": (), "genome": "", **named}) if named else plan


def _check_sources(given: Mapping[str, Any]) -> None:
    if "inputs" in given and "genome" in given:
        raise ConfigError("give FASTA files or --genome, not both")


def _text(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else "none" if value is None else str(value)
