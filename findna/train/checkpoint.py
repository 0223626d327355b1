"""Checkpoints of a run, complete or absent; the last three are kept.

A checkpoint is `step-N.safetensors` and `step-N.json`, which is written last and has the sha256 of the first. There is
no pickle, and no random state: every draw has the key (seed, epoch, sequence index).
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from findna.errors import TrainingError
from findna.io.files import write_atomic
from findna.io.structured import read_json

KEPT = 3


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write the checkpoint of a step, then delete all but the newest three."""
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    content = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
    stem = folder / f"step-{step:09d}"
    write_atomic(stem.with_suffix(".safetensors"), content)
    marker = {"step": step, "sha256": hashlib.sha256(content).hexdigest(), **state}
    write_atomic(stem.with_suffix(".json"), json.dumps(marker) + "\n")
    for old in sorted(folder.glob("step-*.json"))[:-KEPT]:
        old.unlink()
    whole = {marker.stem for marker in folder.glob("step-*.json")}
    for orphan in [*folder.glob("step-*.safetensors"), *folder.glob(".step-*.tmp")]:  # of a killed run, too
        if orphan.stem not in whole:
            orphan.unlink(missing_ok=True)


def has_checkpoint(folder: Path) -> bool:
    """Whether there is a checkpoint; it may be damaged."""
    return any(folder.glob("step-*.json"))


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and state of the newest complete checkpoint; damaged ones are skipped.

    Raises:
        TrainingError: There is none.
    """
    from safetensors.torch import load

    for marker in sorted(folder.glob("step-*.json"), reverse=True):
        try:
            state = read_json(marker)
            content = marker.with_suffix(".safetensors").read_bytes()
        except (OSError, ValueError):
            continue
        if isinstance(state, dict) and hashlib.sha256(content).hexdigest() == state.get("sha256"):
            return load(content), state
    run = folder.parent
    if not run.is_dir():
        raise TrainingError(f"{run}: nothing to resume: no such folder")
    raise TrainingError(
        f"{run}: nothing to resume: no complete checkpoint in {folder.name}/; delete {run} and start again"
    )


def check_same_shapes(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    """Refuse the tensors of another network.

    Raises:
        TrainingError: Their names or shapes differ.
    """
    if {name: value.shape for name, value in mine.items()} != {name: value.shape for name, value in theirs.items()}:
        raise TrainingError("the checkpoint is of another network: its tensors differ in name or shape")
