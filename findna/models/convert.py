"""Converts checkpoints of the published code to model folders. Nothing else reads a pickle."""

import math
import os
import pickle
import re
import struct
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor

from findna.errors import ConfigError, ModelError, system_reason
from findna.io.files import open_regular, sha256
from findna.models.folders import PICKLES
from findna.models.store import save_model
from findna.nn.chordmixer import ChordMixer
from findna.sequence import ALPHABET
from findna.sizes import ModelConfig

THEIR_ALPHABET = "ACGNT"
"""Channel order of the published code."""

PUBLISHED = ModelConfig()

_ORDER = [THEIR_ALPHABET.index(base) for base in ALPHABET]
NetworkName = Literal["teacher", "student"]
"""The networks of a pretraining checkpoint."""

_NETWORKS: tuple[NetworkName, ...] = get_args(NetworkName)
_WRAPPERS = ("state_dict", "model", "net", "network", "module", "_orig_mod")
_PREFIX = re.compile(rf"(?:(?:{'|'.join([*_NETWORKS, *_WRAPPERS])})(?:_state_dict)?\.)*", re.IGNORECASE)
_BLOCKS = r"(?:SwanDNA_blocks|DANSwan_blocks|chordmixer_blocks)"
_BLOCK = re.compile(
    rf"encoder\.{_BLOCKS}\.(\d+)\.{_BLOCKS}\.(\d+)\.(?:column_transform|mix)\.(fc[12]\.(?:weight|bias))"
)
_ENDS = {
    "embedding.weight": "stem.weight",
    "embedding.bias": "stem.bias",
    "linear.weight": "head.weight",
    "linear.bias": "head.bias",
}
_UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    struct.error,
)
"""The errors of torch.load for a file that is not a checkpoint, or whose pickle needs more than tensors."""


def convert(path: Path, out: Path, *, name: str, network: NetworkName = "teacher") -> ModelConfig:
    """Convert a pretraining checkpoint (.pt, .pth) of the published code to a model folder, and return its size.

    Only tensors and plain containers are read (`weights_only`), so code in the file does not run. If a tensor of the
    network is missing, nothing is written. The size follows from the tensors, except for two numbers: the track width
    follows the published rule, C / (blocks + 1) rounded up; the length is 2 ** blocks positions, or the published 1,010
    for 10 blocks. Weights are stored in bf16.

    Args:
        path: The checkpoint: a state dict, bare or in a wrapper, or a training state as the published code writes it,
            `{"Teacher": state dict, "Student": state dict, "EPOCHS_RUN": n}`.
        out: The folder to create; a model in it is replaced.
        name: Name of the model.
        network: The network of a training state to convert. A checkpoint of one network is the "teacher".

    Raises:
        ModelError: The file is not such a checkpoint (the text names missing and unexpected tensors), or has no
            student.
        OutputError: `out` cannot be written.
    """
    tensors, config = read_checkpoint(path, network)
    encoder = ChordMixer(config)
    encoder.load_state_dict(tensors)
    origin = {"converted_from": path.name, **origin_of(path, network)}
    save_model(out, encoder, name=name, training=origin, card=_card(name, config, origin))
    return config


def origin_of(path: Path, network: NetworkName) -> dict[str, str]:
    """What determines a converted model, as in its `config.json`.

    Raises:
        ModelError: The checkpoint cannot be read.
    """
    try:
        return {"checkpoint_sha256": sha256(path), "network": network}
    except OSError as error:
        raise ModelError(f"checkpoint {path}: cannot be read: {system_reason(error)}") from error


def read_checkpoint(path: Path, network: NetworkName = "teacher") -> tuple[dict[str, Tensor], ModelConfig]:
    """The tensors of one network of a checkpoint, with our names and channel order, and its size.

    Raises:
        ModelError: As `convert`.
    """
    _refuse_what_is_none(path)
    try:
        # Given a path, torch would trust the extension .safetensors.
        with (
            open_regular(path) as file,
            warnings.catch_warnings(action="ignore"),
        ):  # no warning about a file that is then refused
            content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"checkpoint {path}: cannot be read: {system_reason(error)}") from error
    except _UNREADABLE as error:
        raise ModelError(
            f"checkpoint {path}: not a checkpoint with only tensors, and findna reads nothing else from a pickle; "
            "save its state_dict() again with torch.save"
        ) from error
    found = _state_dict(content, path, network)
    config = _size({key: tuple(value.shape) for key, value in found.items()}, path)
    names = {key: _our_name(key, config.n_blocks) for key in found}
    if config.n_parameters > path.stat().st_size:  # the shape of a tensor may claim more than its stored bytes
        raise ModelError(f"checkpoint {path}: {config.n_parameters:,} parameters are more than the bytes of the file")
    expected = {key: tuple(value.shape) for key, value in ChordMixer(config).state_dict().items()}
    ours: dict[str, Tensor] = {}
    unexpected = []
    for key, tensor in found.items():
        if names[key] in expected and names[key] not in ours:
            ours[names[key]] = _in_our_order(names[key], tensor)
        else:
            unexpected.append(key)
    missing = sorted(set(expected) - set(ours))
    wrong = [f"{key} {tuple(ours[key].shape)}" for key in ours if tuple(ours[key].shape) != expected[key]]
    wrong += [f"{key} ({ours[key].dtype})" for key in ours if not ours[key].is_floating_point()]
    problems = [("missing", missing), ("unexpected", unexpected), ("of the wrong shape or type", wrong)]
    if any(keys for _, keys in problems):
        text = "; ".join(f"{what}: {_some(keys)}" for what, keys in problems if keys)
        raise ModelError(f"checkpoint {path}: its tensors are not those of the network; {text}")
    if damaged := [key for key, value in ours.items() if not value.isfinite().all()]:
        raise ModelError(f"checkpoint {path}: NaN or Inf in {_some(damaged)}")
    return ours, config


def _refuse_what_is_none(path: Path) -> None:
    """Refuse, before torch reads it, a file that is not a checkpoint or that unpacks to more than its size.

    Raises:
        ModelError: It cannot be read, is not a regular file, or is not an archive or pickle as torch writes them.
    """
    try:
        with open_regular(path) as file:
            head = file.read(16)
            is_archive = head.startswith(PICKLES[0])
            n_packed = os.fstat(file.fileno()).st_size
            n_bytes = sum(entry.file_size for entry in ZipFile(file).infolist()) if is_archive else 0
    except OSError as error:
        raise ModelError(f"checkpoint {path}: cannot be read: {system_reason(error)}") from error
    except (BadZipFile, ValueError, NotImplementedError, struct.error, RuntimeError) as error:
        raise ModelError(f"checkpoint {path}: truncated or damaged: {error}") from error
    if not head.startswith(PICKLES):
        is_ours = path.suffix == ".safetensors" or head[8:9] == b"{"
        hint = "a safetensors file needs no conversion: use its model folder" if is_ours else ""
        raise ModelError(f"checkpoint {path}: not a checkpoint of torch.save{'; ' if hint else ''}{hint}")
    if n_bytes > n_packed:  # torch stores tensors as they are
        raise ModelError(f"checkpoint {path}: would unpack to {n_bytes:,} bytes; torch.save does not compress")


def _state_dict(content: Any, path: Path, network: NetworkName) -> dict[str, Tensor]:
    """The tensors of one network, without prefixes of wrappers in their names."""
    tensors = dict(_flat(content))
    owned = {key: _owners(key) for key in tensors}
    held = [name for name in _NETWORKS if any(name in owners for owners in owned.values())]
    if network not in held and (held or network == "student"):
        what = f"only a {held[0]}" if held else "one network, which is not marked as the student"
        raise ModelError(f"checkpoint {path}: holds no {network}; it holds {what}")
    owner = next((name for name in (network, *_WRAPPERS) if any(name in owners for owners in owned.values())), None)
    found = {key: value for key, value in tensors.items() if owner is None or owner in owned[key]}
    if not found:
        raise ModelError(f"checkpoint {path}: holds no state dict")
    return {key.removeprefix(_prefix(key)): value for key, value in found.items()}


def _flat(content: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of nested mappings, their keys joined by dots."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            if isinstance(value, Tensor):
                yield f"{prefix}{key}", value
            else:
                yield from _flat(value, f"{prefix}{key}.")


def _prefix(key: str) -> str:
    match = _PREFIX.match(key)
    return match.group() if match else ""


def _owners(key: str) -> list[str]:
    """The names of the wrappers around a tensor, outermost first.

    >>> _owners("Teacher.module.stem"), _owners("model_state_dict.stem"), _owners("state_dict.stem")
    (['teacher', 'module'], ['model'], ['state_dict'])
    """
    return [part.lower().removesuffix("_state_dict") for part in _prefix(key).split(".")[:-1]]


def _our_name(key: str, n_blocks: int) -> str:
    if match := _BLOCK.fullmatch(key):
        layer, block, rest = match.groups()
        return f"blocks.{int(layer) * n_blocks + int(block)}.{rest}"
    return _ENDS.get(key, key)


def _size(shapes: Mapping[str, tuple[int, ...]], path: Path) -> ModelConfig:
    blocks = {key: (int(m[1]), int(m[2])) for key in shapes if (m := _BLOCK.fullmatch(key))}
    first = next((shapes[key] for key in blocks if key.endswith("fc1.weight")), ())
    if len(first) != 2:
        raise ModelError(f"checkpoint {path}: no blocks of the network in it; it holds {_some(list(shapes))}")
    hidden, channels = first
    n_layers, n_blocks = (1 + max(indices) for indices in zip(*blocks.values(), strict=True))
    try:
        return ModelConfig(
            channels=channels,
            hidden=hidden,
            track_width=math.ceil(channels / (n_blocks + 1)),
            n_layers=n_layers,
            max_len=PUBLISHED.max_len if n_blocks == PUBLISHED.n_blocks else 2**n_blocks,
        )
    except ConfigError as error:
        raise ModelError(f"checkpoint {path}: {n_layers} layers of {n_blocks} blocks: {error}") from error


def _in_our_order(name: str, tensor: Tensor) -> Tensor:
    if name == "stem.weight" and tensor.ndim == 2 and tensor.shape[1] == len(ALPHABET):
        return tensor[:, _ORDER]
    if name in ("head.weight", "head.bias") and tensor.shape[:1] == (len(ALPHABET),):
        return tensor[_ORDER]
    return tensor


def _some(keys: list[str]) -> str:
    keys = [key if key.isprintable() else repr(key) for key in keys]
    return ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")


def _card(name: str, config: ModelConfig, origin: Mapping[str, str]) -> str:
    return f"""# {name}

A DNA encoder converted by `findna model convert` from a checkpoint of the published code of Yu et al. 2024
(arXiv:2405.08538). The file does not say on which data, for how long and how well it was trained.

| | |
|---|---|
| checkpoint | {origin["converted_from"]} |
| sha256 of the checkpoint | {origin["checkpoint_sha256"]} |
| network of the checkpoint | {origin["network"]} |
| parameters | {config.n_parameters:,} |
| channels, hidden, layers, blocks/layer | {config.channels}, {config.hidden}, {config.n_layers}, {config.n_blocks} |
| track width, longest window | {config.track_width}, {config.window} bases (by rule, not in the checkpoint) |

Channels were reordered from {THEIR_ALPHABET} to {ALPHABET}, and the weights rounded to bf16.
Each sequence rotates in its own ring here, without padding; the published code pads its batches.
Not tested for any clinical use.
"""
