"""The meaning of the effects of a model or a task, in the words of an output."""

from typing import NamedTuple

from findna.models.task_settings import TaskSettings, class_of


class EffectValue(NamedTuple):
    """The meaning of an effect and its unit, which is not known for a regression."""

    value: str
    unit: str


OF_A_MODEL = EffectValue("log-probability minus that of the reference base, masked, nats", "nats")


def of_a_task(settings: TaskSettings, label: str, *, task: str) -> EffectValue:
    """The meaning of the effects of a task on a class.

    Raises:
        ConfigError: As for `findna.models.task_settings.class_of`.
    """
    if settings.objective == "regression":
        return EffectValue("prediction minus that of the reference", "")
    return EffectValue(f"log-odds of {class_of(settings, label, task=task)} minus those of the reference", "nats")
