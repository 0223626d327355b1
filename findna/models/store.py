"""Model folders: `model.safetensors`, `config.json` with its sha256, `golden.json`, `CARD.md`; load, save, verify."""

import hashlib
import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from findna import phases
from findna.data.batch import pack
from findna.errors import ConfigError, ModelError, did_you_mean, system_reason
from findna.io.files import raise_output_error, write_atomic
from findna.io.structured import read_json
from findna.models.manifest import check_digest, config_text
from findna.models.parts import check_facts, load_tensors, read_weights
from findna.models.pulled import parse_repo, pulled_folder, pulled_models
from findna.models.readout import ModelReadout
from findna.nn.device import FP32, Precision
from findna.nn.encoder import Encoder
from findna.nn.mixers import make_encoder
from findna.sequence import ALPHABET, Codes
from findna.sizes import ModelConfig

SCHEMA = "findna-model/1"
SHIPPED = Path(__file__).parent / "shipped"
DEFAULT = "findna-small"
"""The default model of `findna embed`."""

PICKLES = (b"PK\x03\x04", b"\x80")
"""The first bytes of a pickled checkpoint: torch's zip archive, or a bare pickle."""

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


def shipped_models() -> list[Path]:
    """The folders of the models inside the package."""
    return sorted(path.parent for path in SHIPPED.glob("*/config.json"))


def find_model(name: str) -> Path:
    """The folder of a shipped model, path, or pulled repository `ORG/NAME[@REVISION]`.

    Raises:
        ModelError: There is none, or it is a pickle.
    """
    if not name:
        raise ModelError("the model's name is empty")
    path = Path(name)
    repo = parse_repo(name)
    if (SHIPPED / name / "config.json").is_file() and not (path / "config.json").is_file():
        return SHIPPED / name
    if path.is_file():
        raise ModelError(f"model {name}: a model is a folder, and this is a file; {_hint_of_a_file(path)}")
    if not (path / "config.json").is_file():
        if repo and (folder := pulled_folder(repo)):
            return folder
        known = [folder.name for folder in shipped_models()]
        what = "holds no config.json" if path.is_dir() else "is neither a folder nor the name of a shipped model"
        hint = did_you_mean(name, [str(pulled) for pulled, _ in pulled_models()] if repo else known)
        if repo and not hint:
            hint = f"; if it is a repository of a hub, run `findna model pull {name}` first"
        raise ModelError(f"model {name}: {what} (shipped: {', '.join(known)}){hint}")
    return path


def _hint_of_a_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            is_checkpoint = file.read(4).startswith(PICKLES)
    except OSError as error:
        return f"it cannot be read: {system_reason(error)}"
    if is_checkpoint:
        return "for a pickled checkpoint run `findna model convert` first"
    return (
        "use its folder, with its config.json"
        if path.suffix in (".safetensors", ".json")
        else ("it is not a checkpoint of the published code either")
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a model folder.

    Raises:
        ModelError: It is damaged, was edited, or is not ours.
    """
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError) as error:
        raise ModelError(f"model {folder}: config.json cannot be read: {system_reason(error)}") from error
    if not isinstance(config, dict) or config.get("schema") != SCHEMA:
        is_task = isinstance(config, dict) and str(config.get("schema")).startswith("findna-task/")
        hint = "; it is a task model, for `findna classify`" if is_task else ""
        raise ModelError(f"model {folder}: config.json does not have schema {SCHEMA!r}{hint}")
    check_digest(config, f"model {folder}")
    check_facts(config, f"model {folder}", objects=("model", "training", "readout"))
    return config


def load_model(name: str | Path = DEFAULT) -> Model:
    """Load a model; a damaged one is an error.

    Args:
        name: A shipped model's name, the path of a model folder (a run directory is one), or a repository that was
            pulled from a hub.

    Raises:
        ModelError: It is not to be found, not ours, has the wrong sha256, or the wrong tensors.
    """
    phases.enter(f"loading {name}")
    folder = find_model(str(name))
    config = read_config(folder)
    if config.get("alphabet") != ALPHABET:
        raise ModelError(f"model {folder}: its alphabet is {config.get('alphabet')!r}, not {ALPHABET!r}")
    weights = folder / "model.safetensors"
    try:
        size = ModelConfig.from_dict(config["model"])
        if weights.is_file() and size.n_parameters > weights.stat().st_size:  # a model of a hub may claim any size
            raise ConfigError(f"{size.n_parameters:,} parameters are more than the bytes of model.safetensors")
        sha256 = str(config.get("sha256"))
        content = read_weights(weights, f"model {folder}", expected=sha256, n_parameters=size.n_parameters)
        network = make_encoder(size)
        load_tensors(content, network)
        readout = ModelReadout.from_dict(config["readout"], size) if "readout" in config else ModelReadout()
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        reason = textwrap.shorten(str(error), 400, placeholder=" ...")  # torch names every tensor
        raise ModelError(f"model {folder}: weights and config.json do not go together: {reason}") from error
    network.requires_grad_(False).eval()
    name = str(config.get("name", folder.resolve().name))
    return Model(name, folder, network, sha256, config.get("training", {}), readout)


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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").unlink(missing_ok=True)
    except OSError as error:
        raise_output_error(error, folder)
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
        f"largest difference {worst:.1e} of the scale, at most {limit:.0e} ({device}, {precision.name})",
    )
