"""The built-in tasks, for `findna task`; nothing here loads torch."""

import dataclasses
from typing import Any

from findna.tasks.catalog import Task as Task
from findna.tasks.catalog import read_task as read_task
from findna.tasks.catalog import task_names as task_names


def task_facts(task: Task) -> dict[str, Any]:
    """The fields of a built-in task, and whether its weights are shipped."""
    return {**dataclasses.asdict(task), "has_weights": task.has_weights}
