"""Finds model folders and reads their `config.json`; nothing here loads torch."""

from pathlib import Path
from typing import Any

from findna.errors import ConfigError, ModelError, UnknownModelError, did_you_mean, system_reason
from findna.io.structured import read_json
from findna.models.manifest import check_digest
from findna.models.parts import check_facts, one_model, read_weights
from findna.models.pulled import parse_repo, pulled_folder, pulled_models
from findna.sequence import ALPHABET
from findna.sizes import ModelConfig

SCHEMA = "findna-model/1"
SHIPPED = Path(__file__).parent / "shipped"
DEFAULT = "findna-small"
"""The default model of `findna embed`."""

PICKLES = (b"PK\x03\x04", b"\x80")
"""The first bytes of a pickled checkpoint: torch's zip archive, or a bare pickle."""


def shipped_models() -> list[Path]:
    """The folders of the models inside the package."""
    return sorted(path.parent for path in SHIPPED.glob("*/config.json"))


def find_model(name: str) -> Path:
    """The folder of a shipped model, path, or pulled repository `ORG/NAME[@REVISION]`.

    Raises:
        ModelError: The name is empty, or that of a file or of a folder without a model.
        UnknownModelError: There is none.
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
        if path.is_dir():
            raise ModelError(f"model {name}: holds no config.json (shipped: {', '.join(known)})")
        hint = did_you_mean(name, [str(pulled) for pulled, _ in pulled_models()] if repo else known)
        if repo and not hint:
            hint = f"; if it is a repository of a hub, run `findna model pull {name}` first"
        raise UnknownModelError(
            f"model {name}: is neither a folder nor the name of a shipped model (shipped: {', '.join(known)}){hint}"
        )
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


def read_model(folder: Path) -> tuple[dict[str, Any], ModelConfig, bytes]:
    """The `config.json` of a model folder, the size of its network, and the bytes of its weights.

    Raises:
        ModelError: A part is damaged or not ours, or the weights are not those of the config.
    """
    config = read_config(folder)
    if config.get("alphabet") != ALPHABET:
        raise ModelError(f"model {folder}: its alphabet is {config.get('alphabet')!r}, not {ALPHABET!r}")
    weights = folder / "model.safetensors"
    with one_model(f"model {folder}"):
        size = ModelConfig.from_dict(config["model"])
        if weights.is_file() and size.n_parameters > weights.stat().st_size:  # a model of a hub may claim any size
            raise ConfigError(f"{size.n_parameters:,} parameters are more than the bytes of model.safetensors")
        sha256 = str(config.get("sha256"))
        return config, size, read_weights(weights, f"model {folder}", expected=sha256, n_parameters=size.n_parameters)
