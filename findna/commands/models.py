"""The work of `findna model`, `task info` and `doctor`: models listed, described, checked and made.

A function that needs torch imports it itself, so lists and descriptions are shown at once.
"""

import dataclasses
import importlib.util
import itertools
import platform
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from findna import __version__
from findna.config import ComputeConfig
from findna.cpus import n_cpus
from findna.errors import ModelError, OutputError
from findna.io.cache import cache_dir
from findna.io.files import sha256
from findna.models.folders import DEFAULT, find_model, read_config, read_model, shipped_models
from findna.models.hub import pull as pull
from findna.models.parts import one_model, read_card
from findna.models.pulled import pulled_models
from findna.models.task_settings import find_task, read_task_folder
from findna.settings import make, with_settings
from findna.sizes import ModelConfig

if TYPE_CHECKING:
    from findna.models.readout import ModelReadout

_OPTIONAL = {
    "pyarrow": "parquet",
    "tensorboard": "train",
    "sklearn": "bench",
    "matplotlib": "bench",
    "huggingface_hub": "hub",
    "pooch": "data",
    "anndata": "dev",
}
"""Optional packages, and the extra of each."""


def list_models() -> list[tuple[str, ModelConfig, str]]:
    """Name, size and mark ("default", "pulled" or "") of each shipped and pulled model."""
    rows = [(folder.name, folder, "default" if folder.name == DEFAULT else "") for folder in shipped_models()]
    rows += [(str(repo), folder, "pulled") for repo, folder in pulled_models()]
    return [(name, ModelConfig.from_dict(read_config(folder)["model"]), mark) for name, folder, mark in rows]


def is_task(name: str) -> bool:
    """Whether a name or folder is a task model.

    Raises:
        ModelError: The model does not exist.
    """
    return (find_model(name or DEFAULT) / "head.safetensors").is_file()


def describe_model(name: str = "") -> tuple[dict[str, Any], str, str]:
    """`config.json` and `folder` of a model, its read-out in words, and its card.

    `findna model verify` also checks that tensors and read-out fit the network.

    Raises:
        ModelError: The model is not found, or a file is damaged.
    """
    from findna.models.readout import ModelReadout

    folder = find_model(name or DEFAULT)
    config, size, _ = read_model(folder)
    with one_model(f"model {folder}"):
        readout = ModelReadout.of_config(config)
    facts = {"folder": str(folder), **config, "window": size.window, "model": size.to_dict()}
    return facts, str(readout), read_card(folder)


def describe_task(name: str) -> tuple[dict[str, Any], str]:
    """The classes and settings of a task model, and its card.

    Raises:
        ModelError: The task model is damaged.
        ConfigError: The task does not exist.
    """
    folder = find_task(name)
    task = read_task_folder(folder)
    facts = {
        "objective": task.settings.objective,
        "classes": list(task.settings.classes),
        "window": task.settings.window,
        "pools": list(task.settings.pools),
        "blocks": list(task.settings.blocks),
        "temperature": task.settings.temperature,
        "teacher": task.config["teacher"].get("name"),
        "folder": str(folder),
        "sha256": task.sha256,
        "metrics": task.metrics,
    }
    return facts, read_card(folder)


def check_model(name: str = "", *, device: str = "auto", precision: str = "auto") -> tuple[str, list[dict[str, Any]]]:
    """The name of a model and the checks on this machine: check, whether it passed, figure.

    Raises:
        ModelError: The model is not found or damaged.
        ConfigError: There is no such device or precision.
    """
    from findna.models.store import load_model, verify_model
    from findna.nn.device import Compute

    compute = Compute.pick(device, precision)
    model = load_model(name or DEFAULT)
    model.network.to(compute.device)
    found = [("sha256 and tensors", True, model.sha256), *verify_model(model, precision=compute.precision)]
    return model.name, [{"check": check, "ok": is_ok, "figure": figure} for check, is_ok, figure in found]


@with_settings(ComputeConfig, without=("batch_bases", "deterministic"))
def set_readout(
    folder: str | Path,
    windows: str | Path,
    *,
    pool: str = "mean,sd",
    blocks: str = "",
    n_windows: int = 4096,
    max_columns: int = 1300,
    force: bool = False,
    on_done: Callable[[int], None] = lambda n_done: None,
    **settings: Any,
) -> "tuple[ModelReadout, bool]":
    """Measure a read-out of a model on reference windows and store it in the model's folder.

    Args:
        folder: The model folder; its `config.json` is replaced.
        windows: FASTA; the first windows are read.
        pool: As `EmbedConfig.pool`.
        blocks: As `EmbedConfig.blocks`.
        n_windows: Maximum number of windows.
        max_columns: Maximum number of features.
        force: Replace another read-out.
        on_done: Called with the number of windows so far.
        settings: Of the computation.

    Returns:
        The read-out, and whether it is new: not if the model has this read-out already.

    Raises:
        ModelError: The folder is not a model folder.
        OutputError: The model has another read-out, or the folder cannot be written.
        ConfigError: Pools or blocks are not those of the model, or the features are too many.
        InputError: A window cannot be used, or there are fewer than two.
    """
    from findna.io.fasta import read_fasta
    from findna.models.store import load_model, save_readout
    from findna.nn.device import Compute
    from findna.reference import measure_readout
    from findna.runs.finished import require_same_run

    folder, windows = Path(folder), Path(windows)
    if not (folder / "config.json").is_file():
        raise ModelError(f"model {folder}: not a model folder: config.json not found")
    model = load_model(folder)
    sources = {windows.name: sha256(windows)}
    if model.readout.reference and not force:
        n_found = sum(1 for _ in itertools.islice(read_fasta(windows), n_windows))
        reference = {"n_windows": n_found, "sources": sources, "weights": model.sha256}
        asked = {"pool": pool, "blocks": blocks, "reference": reference}
        require_same_run(folder, dataclasses.asdict(model.readout), asked)
        return model.readout, False
    found = measure_readout(
        model,
        read_fasta(windows),
        pool=pool,
        blocks=blocks,
        n_windows=n_windows,
        max_columns=max_columns,
        sources=sources,
        compute=Compute.begin(make(ComputeConfig, settings)),
        on_done=on_done,
    )
    save_readout(folder, found)
    return found, True


def convert(
    checkpoint: str | Path, folder: str | Path, *, is_student: bool = False, force: bool = False
) -> tuple[ModelConfig, bool]:
    """Make a model folder from a checkpoint of the published code.

    Returns:
        The size of the network, and whether the folder is new: not if it has the model of this checkpoint already.

    Raises:
        OutputError: The folder has another content, or cannot be written.
        ModelError: The checkpoint cannot be read.
    """
    from findna.models import convert as converting
    from findna.models.store import load_model
    from findna.runs.finished import require_same_run

    checkpoint, folder = Path(checkpoint), Path(folder)
    network: converting.NetworkName = "student" if is_student else "teacher"
    origin = converting.origin_of(checkpoint, network)
    if folder.is_dir() and any(folder.iterdir()) and not force:
        with suppress(ModelError):
            found = load_model(folder.resolve())
            require_same_run(folder, found.training, origin)
            return found.config, False
        raise OutputError(
            f"{folder}: is not empty, and holds no model; choose another folder, or force=True writes one to it"
        )
    return converting.convert(checkpoint, folder, name=folder.resolve().name, network=network), True


def machine_facts() -> dict[str, str]:
    """Versions, devices and folders, by name."""
    import torch

    from findna.nn.device import has_native_bf16, pick_device

    device = pick_device()
    facts = {"findna": __version__, "python": platform.python_version(), "system": platform.platform()}
    facts |= {name: version(name) for name in ("torch", "numpy", "h5py", "pysam", "biopython", "safetensors")}
    facts["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu"
    facts["threads"] = str(n_cpus())
    facts["native bf16"] = "yes" if has_native_bf16(device) else "no: precision auto uses fp32"
    facts["cache"] = str(cache_dir())
    for package, extra in _OPTIONAL.items():
        is_there = importlib.util.find_spec(package) is not None
        facts[package] = "installed" if is_there else f"not installed: pip install 'findna[{extra}]'"
    return facts
