"""The portable checkpoint: one small file, to continue a run on another machine.

It holds student and teacher in bf16 (2 bytes per parameter each, where a checkpoint has 16 in all) and the center,
with state and plan as metadata. The moments are dropped: they begin at zero, and the learning rate rises again.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from findna.errors import OutputError, TrainingError
from findna.io.files import already_exists, write_atomic
from findna.io.structured import parse_json
from findna.nn.device import Compute
from findna.train.checkpoint import load_checkpoint, save_checkpoint
from findna.train.plan import PretrainPlan

SCHEMA = "findna-run/1"
REWARM = 0.02
"""Fraction of a run's steps in which the learning rate rises again."""

_NETWORKS = ("student.", "teacher.")


class Exported(NamedTuple):
    """An exported run.

    Args:
        n_bytes: Size of the file.
        step: Updates that the run has made.
        finished: Whether the run is finished.
    """

    n_bytes: int
    step: int
    finished: bool


def export_run(out: Path, path: Path, *, force: bool = False) -> Exported:
    """Write the newest checkpoint of a run directory to one file.

    Raises:
        TrainingError: There is no checkpoint.
        OutputError: The file exists and must not be replaced, or cannot be written.
    """
    from safetensors.torch import save

    if path.exists() and not force:
        raise already_exists(path)
    try:
        plan = (out / "pretrain.json").read_text()
    except OSError as error:
        raise TrainingError(f"{out}: nothing to export: no pretrain.json") from error
    tensors, state = load_checkpoint(out / "checkpoints")
    kept = {
        name: value.bfloat16() if name.startswith(_NETWORKS) else value
        for name, value in tensors.items()
        if name.startswith((*_NETWORKS, "center"))
    }
    content = save(kept, {"schema": SCHEMA, "plan": plan, "state": json.dumps(state)})
    write_atomic(path, content)
    return Exported(len(content), state["step"], state["step"] >= state["total_steps"])


def read_portable(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """Tensors in float32, state, and the text of `pretrain.json`.

    Raises:
        TrainingError: The file is absent, damaged, or not an exported run.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            if metadata.get("schema") != SCHEMA:
                raise TrainingError(f"{path}: is not an exported run of findna pretrain")
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        return tensors, parse_json(metadata["state"]), metadata["plan"]
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise TrainingError(f"{path}: cannot be read as an exported run: {error}") from error


def portable_plan(path: Path) -> PretrainPlan:
    """The plan of an exported run."""
    return PretrainPlan.parse(read_portable(path)[2], path)


def import_run(path: Path, out: Path, *, compute: Compute, job: str = "") -> int:
    """Make a run directory from an exported run; returns its step.

    Args:
        path: The exported file.
        out: The run directory; it must not hold a run.
        compute: Where and how the run continues: another machine may have another precision.
        job: The job that makes it, for `pretrain.json`.

    Raises:
        OutputError: `out` holds a run.
        TrainingError: The file cannot be read.
    """
    tensors, state, plan = read_portable(path)
    if out.exists() and any(out.iterdir()):
        raise OutputError(f"{out}: holds a run already; choose another folder")
    moments: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name.startswith("student."):
            parameter = name.removeprefix("student.")
            moments |= {f"{moment}.{parameter}": torch.zeros_like(value) for moment in ("exp_avg", "exp_avg_sq")}
            moments[f"step.{parameter}"] = torch.zeros(())
    step = int(state.pop("step"))
    del state["sha256"]
    state["fingerprint"].pop("stream", None)
    state["fingerprint"] |= compute.precision.facts()
    out.mkdir(parents=True, exist_ok=True)
    save_checkpoint(out / "checkpoints", step, tensors | moments, {**state, "rewarm_from": step})
    write_atomic(out / "pretrain.json", json.dumps({**json.loads(plan), "job": job}, indent=2) + "\n")
    return step


def rewarmed(rate: float, *, step: int, rewarm_from: int | None, total_steps: int) -> float:
    """The learning rate of a step, lower after an import at step `rewarm_from`, until there are new moments.

    >>> [rewarmed(1.0, step=step, rewarm_from=100, total_steps=200) for step in (100, 101, 103, 104)]
    [0.25, 0.5, 1.0, 1.0]
    """
    if rewarm_from is None:
        return rate
    n_steps = max(1, round(REWARM * total_steps))
    return rate * min(1.0, (step - rewarm_from + 1) / n_steps)
