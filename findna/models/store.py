"""Model folders: `model.safetensors`, `config.json` with its sha256, `golden.json`, `CARD.md`; load, save, verify."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from findna.data.batch import pack
from findna.errors import system_reason
from findna.io.files import write_atomic, writing
from findna.io.structured import read_json
from findna.models.described import ModelFacts, describe_model
from findna.models.folders import DEFAULT, SCHEMA, read_config
from findna.models.manifest import config_text
from findna.models.parts import load_tensors, one_model
from findna.models.readout import ModelReadout
from findna.nn.device import FP32, Precision
from findna.nn.encoder import Encoder
from findna.nn.mixers import make_encoder
from findna.sequence import ALPHABET, Codes
from findna.sizes import ModelConfig

TOLERANCE = {
    "cpu": {torch.float32: 1e-5, torch.bfloat16: 1e-2},
    "cuda": {torch.float32: 1e-4, torch.bfloat16: 2e-2},
    "mps": {torch.float32: 1e-3, torch.bfloat16: 5e-2},
}
"""Tolerance of golden vectors, as a fraction of their largest value, by device and products."""


@dataclass(frozen=True)
class Model:
    """A loaded teacher and its facts.

    Args:
        name: Name of its folder.
        path: The folder.
        network: Its weights, float32, in eval mode.
        sha256: Of `model.safetensors`.
        training: Summary of its training, from `config.json`.
        readout: The blocks and pools of its vectors; by default the mean after the last block.
    """

    name: str
    path: Path
    network: Encoder
    sha256: str
    training: Mapping[str, Any]
    readout: ModelReadout = field(default_factory=ModelReadout)

    @property
    def config(self) -> ModelConfig:
        """Its size."""
        return self.network.config


def load_model(name: str | Path = DEFAULT) -> Model:
    """Load a model; a damaged one is an error.

    Args:
        name: A shipped model's name, the path of a model folder (a run directory is one), or a repository that was
            pulled from a hub.

    Raises:
        ModelError: It is not found, not ours, has the wrong sha256, or the wrong tensors.
    """
    return model_of_facts(describe_model(name))


def model_of_facts(found: ModelFacts) -> Model:
    """The model of a folder that was read; see `load_model`."""
    with one_model(f"model {found.path}"):
        network = make_encoder(found.config)
        load_tensors(found.content, network)
    network.requires_grad_(False).eval()
    return Model(found.name, found.path, network, found.sha256, found.training, found.readout)


def model_of(model: str | Path | Model) -> Model:
    """The model itself, or the loaded one of this name or folder; see `load_model`."""
    return model if isinstance(model, Model) else load_model(model)


def save_model(folder: Path, network: Encoder, *, name: str, training: Mapping[str, Any], card: str) -> None:
    """Write a model folder, with weights in bf16; an old `config.json` is removed first, the new one is written last.

    In between, the folder is not a model, so weights are never beside the config of other weights. The golden vectors
    are those of the stored, rounded weights.

    Raises:
        OutputError: The folder cannot be made or written.
    """
    from safetensors.torch import save

    rounded = {
        key: value.detach().to("cpu", torch.bfloat16).contiguous()
        for key, value in network.state_dict().items()
        if not key.startswith("projection.")
    }
    content = save(rounded)
    stored = make_encoder(network.config)
    stored.load_state_dict(rounded)
    golden = golden_vectors(stored.eval())
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").unlink(missing_ok=True)
    write_atomic(folder / "model.safetensors", content)
    write_atomic(folder / "golden.json", json.dumps(golden) + "\n")
    write_atomic(folder / "CARD.md", card)
    config = {
        "schema": SCHEMA,
        "name": name,
        "alphabet": ALPHABET,
        "window": network.config.window,
        "model": network.config.to_dict(),
        "sha256": hashlib.sha256(content).hexdigest(),
        "training": dict(training),
    }
    write_atomic(folder / "config.json", config_text(config))


def save_readout(folder: Path, readout: ModelReadout) -> None:
    """Store a measured read-out in a model folder; only its `config.json` is replaced.

    Raises:
        ModelError: The folder holds no model.
        OutputError: The folder cannot be written.
    """
    config = read_config(folder)
    write_atomic(folder / "config.json", config_text(config | {"readout": readout.to_dict()}))


def _golden_sequences(window: int) -> list[Codes]:
    rng = np.random.default_rng(20240513)
    lengths = (window, min(window, 101), min(window, 17))
    sequences = [rng.integers(0, 4, size=length, dtype=np.uint8) for length in lengths]
    sequences[0][3:8] = ALPHABET.index("N")
    return sequences


@torch.inference_mode()
def golden_vectors(network: Encoder, precision: Precision = FP32) -> dict[str, list[float]]:
    """Mean vectors of three fixed sequences, computed in one batch, by sequence length."""
    sequences = _golden_sequences(network.config.window)
    batch = pack(sequences, n_class_tokens=network.config.n_class_tokens)
    device = network.stem.weight.device
    hidden = network(torch.as_tensor(batch.codes, device=device), batch.rings, precision=precision)
    starts = batch.rings[:-1].tolist()
    means = [hidden[start : start + len(s)].mean(0) for start, s in zip(starts, sequences, strict=True)]
    return {str(len(s)): [round(v, 7) for v in m.tolist()] for s, m in zip(sequences, means, strict=True)}


def verify_model(model: Model, *, precision: Precision = FP32) -> Iterator[tuple[str, bool, str]]:
    """Yield (check, whether it passed, figure) for a loaded model: finite weights, read-out, golden vectors."""
    n_bad = sum(int((~p.isfinite()).sum()) for p in model.network.parameters())
    yield "weights are finite", n_bad == 0, f"{model.config.n_parameters:,} parameters, {n_bad} not finite"
    weights = model.readout.reference.get("weights", model.sha256)
    of_others = "" if weights == model.sha256 else f", but with weights of sha256 {weights[:12]}..."
    yield "read-out", not of_others, f"{model.readout}{of_others}"
    found = {length: np.array(vector) for length, vector in golden_vectors(model.network, precision).items()}
    try:
        stored = read_json(model.path / "golden.json")
        expected = {length: np.array(vector, dtype=np.float64) for length, vector in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        yield "golden vectors", False, f"golden.json cannot be read: {system_reason(error)}"
        return
    if {length: v.shape for length, v in expected.items()} != {length: v.shape for length, v in found.items()}:
        yield "golden vectors", False, f"golden.json does not have one vector for each of {', '.join(found)} bases"
        return
    worst = 0.0
    for length, vector in expected.items():
        delta = np.abs(found[length] - vector).max() / np.abs(vector).max()
        worst = float(np.maximum(worst, delta))  # NaN stays
    device = model.network.stem.weight.device.type
    limit = TOLERANCE.get(device, TOLERANCE["mps"])[precision.products]  # for an unknown device, the largest
    yield (
        "golden vectors",
        worst <= limit,
        f"largest difference {worst:.1e} of the scale, limit {limit:.0e} ({device}, {precision.name})",
    )
