"""Parts of a model folder, which may be of unknown origin: each is checked before memory is allocated for it."""

import hashlib
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from findna.errors import ConfigError, ModelError, system_reason
from findna.io.files import open_regular
from findna.io.structured import read_text
from findna.limits import shown

if TYPE_CHECKING:
    import torch

_LONGEST_NAME = 200
_BYTES_PER_VALUE = 8
_MOST_HEADER = 1 << 24


@contextmanager
def one_model(what: str) -> Iterator[None]:
    """Report a ConfigError, KeyError, TypeError or ValueError of this block as weights that do not match config.json.

    Raises:
        ModelError: There was one.
    """
    try:
        yield
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        reason = textwrap.shorten(str(error), 400, placeholder=" ...")  # torch names every tensor
        raise ModelError(f"{what}: weights and config.json do not match: {reason}") from error


def check_facts(config: Mapping[str, Any], what: str, *, objects: Sequence[str]) -> None:
    """Refuse a config.json in which parts have other types than the rest of the code expects.

    Args:
        config: The content.
        what: Its name in messages.
        objects: Names of parts that must be objects, if present.

    Raises:
        ModelError: A part is of another type, or the name is not printable text.
    """
    for name in objects:
        if not isinstance(config.get(name, {}), dict):
            raise ModelError(f"{what}: config.json: {name} must be an object, not {shown(config[name])}")
    name = config.get("name", "")
    if not isinstance(name, str) or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise ModelError(f"{what}: config.json: name must be a short printable text, not {shown(name)}")


def read_weights(path: Path, what: str, *, expected: object, n_parameters: int) -> bytes:
    """The bytes of a file of tensors, which is hashed as it is read.

    Args:
        path: The file.
        what: Its owner, for messages.
        expected: The sha256 in config.json.
        n_parameters: Number of values; an impossible file size is refused before anything is read.

    Raises:
        ModelError: It cannot be read, is not a regular file, is too large, or has another sha256.
    """
    most = _BYTES_PER_VALUE * n_parameters + _MOST_HEADER
    try:
        with open_regular(path, most=most) as file:
            content = file.read()
    except OSError as error:
        raise ModelError(f"{what}: {path.name} cannot be read: {system_reason(error)}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ModelError(
            f"{what}: {path.name} has sha256 {found[:12]}..., config.json says {str(expected)[:12]}...: "
            "the file is damaged or not of this model; copy the folder again"
        )
    return content


def load_tensors(content: bytes, module: "torch.nn.Module") -> None:
    """Load tensors into a module with the same names and shapes.

    Raises:
        ValueError: Names or shapes differ, a tensor is not floating-point, or the bytes are not in safetensors format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(content)
        strange = [name for name, value in tensors.items() if not value.is_floating_point()]
        if strange:
            raise ValueError(f"not of floating-point numbers: {', '.join(strange)}")
        module.load_state_dict(tensors)
    except (SafetensorError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(textwrap.shorten(str(error), 400, placeholder=" ...")) from error  # torch names every tensor


def read_card(folder: Path) -> str:
    """The CARD.md of a folder; "" if there is none.

    Raises:
        ModelError: It cannot be read.
    """
    try:
        return read_text(folder / "CARD.md")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: CARD.md cannot be read: {system_reason(error)}") from error
