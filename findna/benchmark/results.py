"""Result files of a benchmark: their names, their content, and the figures over seeds."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from findna.benchmark.splits import BenchmarkTask
from findna.benchmark.stored import read_stored
from findna.tasks.catalog import METRICS

SCHEMA = "findna-benchmark/1"

OF_TEACHER = ("probe", "finetune", "random", "random-finetune")


def result_name(task: BenchmarkTask, mode: str, model: str) -> str:
    """Name of a result file. It contains the model, so one folder can hold the results of several models."""
    parts = [task.suite, task.name, mode, *([model] if mode in OF_TEACHER else [])]
    return ".".join(parts).replace("/", "-") + ".json"


def read_result(path: Path) -> dict[str, Any]:
    """A result file.

    Raises:
        TableError: It is damaged or not ours.
    """
    return read_stored(path, schema=SCHEMA, what="benchmark result")


def runs_of(path: Path, fingerprint: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """The runs of a result file of the same data and settings, by seed."""
    if not path.exists():
        return {}
    result = read_result(path)
    return {run["seed"]: run for run in result["runs"]} if result["fingerprint"] == fingerprint else {}


def over_seeds(runs: Sequence[Mapping[str, Any]], summary: Callable[[list[float]], Any]) -> dict[str, dict[str, Any]]:
    """Each figure's summary over the seeds; None if it is not defined."""
    summaries: dict[str, dict[str, Any]] = {}
    for part in ("test", "test_without_duplicates", "valid"):
        if any(run[part] is None for run in runs):
            continue
        columns = {name: [run[part][name] for run in runs] for name in METRICS}
        summaries[part] = {name: None if None in values else float(summary(values)) for name, values in columns.items()}
    return summaries
