"""The common part of the benchmarks' JSON files: each names its schema."""

from pathlib import Path
from typing import Any

from findna.errors import TableError
from findna.io.structured import read_json


def read_stored(path: Path, *, schema: str, what: str) -> dict[str, Any]:
    """The content of a JSON file that says this schema.

    Args:
        path: The file.
        schema: What it must say.
        what: What it is then, for a message, as "benchmark result".

    Raises:
        TableError: It cannot be read, is damaged, or is another file.
    """
    try:
        content = read_json(path)
    except OSError as error:
        raise TableError(f"cannot be read: {error.strerror}", path=path) from error
    except ValueError as error:
        raise TableError(f"is not a valid {what}: {error}", path=path) from error
    if not isinstance(content, dict) or content.get("schema") != schema:
        raise TableError(f"is not a valid {what}: its schema is not {schema!r}", path=path)
    return content
