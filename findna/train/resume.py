"""The settings that determine the result of a training; a resumed or repeated run must have the same."""

import dataclasses
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from findna.data.labelled import LabelledSet
from findna.errors import ConfigError, InputError, TrainingError
from findna.io.spool import changes
from findna.io.structured import read_json
from findna.models.store import Model
from findna.models.task_settings import PLAN
from findna.nn.device import PRECISIONS, Compute
from findna.recipes import FinetuneConfig, PretrainConfig

_MOST_NAMED = 3
_TYPES = ("products", "stream")  # of a precision, as in `Precision.facts`


def check_splits(splits: Mapping[str, LabelledSet]) -> None:
    """Compare the splits of a fine-tuning with its training split.

    Args:
        splits: By name; "train" is one of them.

    Raises:
        InputError: A split is empty, or has another objective or other classes.
    """
    train = splits["train"]
    for name, split in splits.items():
        if not len(split):
            raise InputError(f"the {name} split has no sequence")
        if (split.objective, split.classes) != (train.objective, train.classes):
            raise InputError(f"the {name} split has other classes, or another objective, than the training split")


def facts_of(
    config: FinetuneConfig, splits: Mapping[str, LabelledSet], *, teacher: Model, compute: Compute
) -> dict[str, Any]:
    """The facts that determine the result of a fine-tuning."""
    return {
        "config": dataclasses.asdict(config),
        "teacher": {"name": teacher.name, "sha256": teacher.sha256},
        **compute.precision.facts(),
        "data": {
            name: {"n": len(split), "files": dict(split.sources), "sha256": split.sha256}
            for name, split in splits.items()
        },
    }


def facts_of_pretraining(
    config: PretrainConfig, sources: Mapping[str, Any], *, initial: Model | None, compute: Compute
) -> dict[str, Any]:
    """The facts that determine the result of a pretraining."""
    return {
        **({"initial": {"name": initial.name, "sha256": initial.sha256}} if initial else {}),
        "config": {**dataclasses.asdict(config), "model": config.model.to_dict()},
        "sources": dict(sources),
        **compute.precision.facts(),
    }


def check_same(out: Path, facts: Mapping[str, Any], *, file: str = PLAN) -> None:
    """Raise if a run directory is of another run.

    Args:
        out: The run directory.
        facts: Facts of the run, as the file has them.
        file: The file.

    Raises:
        TrainingError: The run is another one, or the file is missing or cannot be read.
    """
    try:
        stored = read_json(out / file)
    except (OSError, ValueError) as error:
        raise TrainingError(f"{out}: nothing to resume: no {file}") from error
    try:
        before = fingerprint({name: value for name, value in stored.items() if name not in ("plan", "job")})
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
        raise TrainingError(f"{out}: nothing to resume: {file} cannot be read") from error
    require_same(out, before, fingerprint(facts))


def require_same(out: Path, stored: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Raise if a run differs from the one in its run directory.

    Raises:
        TrainingError: It does; the text has the differences.
    """
    if differing := changes(_with_precision(stored), _with_precision(facts), most=_MOST_NAMED):
        raise TrainingError(f"{out}: holds another run ({differing}); choose another folder for a new run")


def fingerprint(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a training without the names of files, which may change between a run and its resume.

    What is stored of a recipe gets the defaults of settings that came after it was written.
    """
    if "data" in facts:
        data = {name: split["sha256"] for name, split in facts["data"].items()}
        config = dataclasses.asdict(FinetuneConfig.from_dict(facts["config"]))
        own = {"data": data, "config": config, "teacher": facts["teacher"]["sha256"]}
    else:
        recipe = PretrainConfig.from_dict(facts["config"])
        files = facts["sources"].get("files", {})
        contents = list(files.values()) if isinstance(files, Mapping) else files
        config = {**dataclasses.asdict(recipe), "model": recipe.model.to_dict()}
        own = {"config": config, "sources": {**facts["sources"], "files": contents}}
    found: dict[str, Any] = json.loads(json.dumps({**facts, **own}))
    return found


def precision_of(path: Path) -> str:
    """The precision of a run that is resumed, by its file of settings; "auto" if it is not known."""
    with suppress(OSError, ValueError, TypeError):
        return _precision_in(read_json(path))
    return "auto"


def _precision_in(facts: Mapping[str, Any]) -> str:
    stored = {kind: facts[kind] for kind in _TYPES if kind in facts}
    return next((name for name, precision in PRECISIONS.items() if precision.facts() == stored), "auto")


def _with_precision(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts with the name of the precision, as a user gives it, instead of its types."""
    return {name: fact for name, fact in facts.items() if name not in _TYPES} | {"precision": _precision_in(facts)}
