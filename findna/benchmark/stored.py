"""The common part of the benchmarks' JSON files: each names its schema."""

from pathlib import Path
from typing import Any

from findna.errors import TableError
from findna.io.structured import read_json, reading


def read_stored(path: Path, *, schema: str, what: str) -> dict[str, Any]:
    """The content of a JSON file of this schema.

    Args:
        path: The file.
        schema: What it must say.
        what: What it is then, for a message, as "benchmark result".

    Raises:
        TableError: It cannot be read, is damaged, or is another file.
    """
    with reading(path, f"a valid {what}"):
        content = read_json(path)
    if not isinstance(content, dict) or content.get("schema") != schema:
        raise TableError(f"is not a valid {what}: its schema is not {schema!r}", path=path)
    return content
