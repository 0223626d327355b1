"""The settings that determine the result of a fine-tuning; a resumed run must have the same."""

import dataclasses
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from findna.data.labelled import LabelledSet
from findna.errors import ConfigError, InputError, TrainingError
from findna.io.spool import differences
from findna.io.structured import read_json
from findna.models.store import Model
from findna.models.task import PLAN
from findna.nn.device import PRECISIONS, Compute
from findna.recipes import FinetuneConfig

_MOST_NAMED = 3


def check_splits(splits: Mapping[str, LabelledSet]) -> None:
    train = splits["train"]
    for name, split in splits.items():
        if not len(split):
            raise InputError(f"the {name} split has no sequence")
        if (split.objective, split.classes) != (train.objective, train.classes):
            raise InputError(f"the {name} split has other classes, or another objective, than the training split")


def facts_of(
    config: FinetuneConfig, splits: Mapping[str, LabelledSet], *, teacher: Model, compute: Compute
) -> dict[str, Any]:
    """The facts that determine the result of a run."""
    return {
        "config": dataclasses.asdict(config),
        "teacher": {"name": teacher.name, "sha256": teacher.sha256},
        **compute.precision.facts(),
        "data": {
            name: {"n": len(split), "files": dict(split.sources), "sha256": split.sha256}
            for name, split in splits.items()
        },
    }


def check_same(out: Path, facts: Mapping[str, Any]) -> None:
    try:
        stored = read_json(out / PLAN)
    except (OSError, ValueError) as error:
        raise TrainingError(f"{out}: nothing to resume: no {PLAN}") from error
    try:
        before = _fingerprint({name: stored[name] for name in facts})
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
        raise TrainingError(f"{out}: nothing to resume: {PLAN} cannot be read") from error
    require_same(out, before, _fingerprint(facts))


def require_same(out: Path, stored: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Raise if a run differs from the one that it resumes."""
    if differing := differences(stored, facts):
        what = "; ".join(f"{name} was {old}, is {new}" for name, old, new in differing[:_MOST_NAMED])
        raise TrainingError(f"{out}: differs from the run to resume: {what}")


def precision_of(path: Path) -> str:
    """The precision of a run that is resumed, by its file of settings; "auto" if it is not known."""
    with suppress(OSError, ValueError, TypeError):
        stored = read_json(path)
        for name, precision in PRECISIONS.items():
            if precision.facts() == {kind: stored[kind] for kind in ("products", "stream") if kind in stored}:
                return name
    return "auto"


def _fingerprint(facts: Mapping[str, Any]) -> Any:
    """The facts without the names of files, which may change between a run and its resume.

    What is stored of a recipe gets the defaults of settings that came after it was written.
    """
    config = dataclasses.asdict(FinetuneConfig.from_dict(facts["config"]))
    data = {name: split["sha256"] for name, split in facts["data"].items()}
    return json.loads(json.dumps({**facts, "config": config, "data": data, "teacher": facts["teacher"]["sha256"]}))
