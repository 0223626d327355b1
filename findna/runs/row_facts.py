"""The facts of model and settings in an output of `findna embed` or `classify`; nothing here loads torch."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from findna.config import ClassifyConfig, EmbedConfig
from findna.models.described import ModelFacts, TaskFacts
from findna.models.manifest import digest_of

if TYPE_CHECKING:
    from findna.models.store import Model
    from findna.models.task import TaskModel


class RowFacts(NamedTuple):
    """The facts of rows, before any is computed.

    Args:
        facts: Of the model, including its name.
        identity: The sha256 of everything that determines the values.
        params: The complete settings; a resumed run must have the same.
    """

    facts: Mapping[str, Any]
    identity: str
    params: Mapping[str, Any]


def facts_of_vectors(model: "Model | ModelFacts", config: EmbedConfig, batch_bases: int) -> RowFacts:
    """The facts of vectors; the config is made complete by the model's read-out."""
    facts = {"sha256": model.sha256, "config": model.config.to_dict(), "readout": model.readout.facts}
    params = asdict(model.readout.embed_config(config, model.config)) | {"batch_bases": batch_bases}
    return RowFacts(
        {"name": model.name, **facts, "training": model.training.get("summary", {})}, digest_of(facts), params
    )


def facts_of_answers(task: "TaskModel | TaskFacts", config: ClassifyConfig, batch_bases: int) -> RowFacts:
    """The facts of predictions; the config is made complete by the task."""
    settings = task.settings
    params = asdict(config.for_task(settings.objective, settings.n_outputs, settings.strand))
    facts = {
        "name": task.name,
        "sha256": task.sha256,
        "config": task.config.to_dict(),
        "task": asdict(settings),
        "teacher": dict(task.teacher),
    }
    return RowFacts(facts, task.sha256, params | {"batch_bases": batch_bases})
