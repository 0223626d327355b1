"""Reads JSON and TOML files of limited size and depth."""

import json
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from findna.errors import TableError, system_reason
from findna.io.files import read_regular

MOST_BYTES = 1 << 24
"""Maximum bytes of a text file (settings, a card, a plan). Our largest files have about 100 kB."""


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn errors of reading `path`, a `what`, into a TableError.

    Raises:
        TableError: Reading raised an OSError, or a ValueError or TypeError.
    """
    try:
        yield
    except OSError as error:
        raise TableError(f"cannot be read: {system_reason(error)}", path=path) from error
    except (TypeError, ValueError) as error:
        raise TableError(f"is not {what}: {error}", path=path) from error


def read_text(path: Path) -> str:
    """The text of a small file, UTF-8.

    Raises:
        OSError: It cannot be read, is not a regular file, or has more than `MOST_BYTES`.
        ValueError: It is not UTF-8.
    """
    return read_regular(path, most=MOST_BYTES).decode()


def read_json(path: Path) -> Any:
    """The contents of a small JSON file.

    Raises:
        OSError: As for `read_text`.
        ValueError: It is not JSON, or is nested too deeply to read.
    """
    return parse_json(read_text(path))


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: It is not JSON, or is nested too deeply to read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a small TOML file.

    Raises:
        OSError: As for `read_text`.
        ValueError: It is not TOML, or is nested too deeply to read.
    """
    try:
        return tomllib.loads(read_text(path))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
