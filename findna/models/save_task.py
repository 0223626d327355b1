"""Writes task models: a run directory, complete or not at all."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from findna.io.files import write_atomic, writing
from findna.models.manifest import config_text
from findna.models.task import TaskModel
from findna.models.task_settings import SCHEMA, TaskSettings, sha256_of
from findna.nn.encoder import Encoder
from findna.nn.heads import Head
from findna.nn.mixers import make_encoder
from findna.sequence import ALPHABET


def save_task(
    folder: Path,
    network: Encoder,
    head: Head,
    *,
    name: str,
    settings: TaskSettings,
    teacher: Mapping[str, Any],
    metrics: Mapping[str, Any],
    training: Mapping[str, Any],
    card: str,
    with_encoder: bool = True,
) -> TaskModel:
    """Write a task folder and return the result of `load_task`; `config.json` is written last.

    Args:
        folder: Created if missing.
        network: The encoder; stored in bf16.
        head: The head; stored in float32.
        name: Of the task.
        settings: How to use them.
        teacher: `name` and `sha256` of the teacher it started from.
        metrics: Figures by split.
        training: How it was trained; anything that is JSON.
        card: Text of CARD.md.
        with_encoder: False: do not store the encoder; the teacher is then looked up by name and sha256.

    Raises:
        OutputError: The folder cannot be made or written.
    """
    content, stored = encode_parts(network, head)
    encoder_sha = hashlib.sha256(content["model.safetensors"]).hexdigest() if with_encoder else teacher["sha256"]
    head_sha = hashlib.sha256(content["head.safetensors"]).hexdigest()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").unlink(missing_ok=True)
        if not with_encoder:
            (folder / "model.safetensors").unlink(missing_ok=True)
    if with_encoder:
        write_atomic(folder / "model.safetensors", content["model.safetensors"])
    write_atomic(folder / "head.safetensors", content["head.safetensors"])
    write_atomic(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    write_atomic(folder / "CARD.md", card)
    config = {
        "schema": SCHEMA,
        "name": name,
        "alphabet": ALPHABET,
        "settings": asdict(settings),
        "encoder": {"model": network.config.to_dict(), "sha256": encoder_sha},
        "head": {"n_features": head.n_features, "hidden": head.hidden, "sha256": head_sha},
        "teacher": dict(teacher),
        "training": dict(training),
    }
    write_atomic(folder / "config.json", config_text(config))
    return TaskModel(
        name=name,
        path=folder,
        network=stored[0],
        head=stored[1],
        settings=settings,
        teacher=teacher,
        sha256=sha256_of(encoder_sha, head_sha, settings),
        metrics=metrics,
        training=training,
    )


def encode_parts(network: Encoder, head: Head) -> tuple[dict[str, bytes], tuple[Encoder, Head]]:
    """The files of encoder and head, and both in the stored form: the encoder rounded to bf16."""
    encoder = _cpu(network, torch.bfloat16)
    weights = _cpu(head, torch.float32)
    stored = make_encoder(network.config)
    stored.load_state_dict(encoder)
    copy = Head(head.n_features, head.n_outputs, hidden=head.hidden)
    copy.load_state_dict(weights)
    files = {"model.safetensors": save(encoder), "head.safetensors": save(weights)}
    return files, (stored.requires_grad_(False).eval(), copy.requires_grad_(False).eval())


def _cpu(module: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    return {key: value.detach().to("cpu", dtype).contiguous() for key, value in module.state_dict().items()}
