"""The common part of the benchmarks' files: JSON names its schema, and only files of findna are replaced."""

import re
from pathlib import Path
from typing import Any

from findna.errors import OutputError, TableError
from findna.io.files import open_regular, refuse_irregular, writing
from findna.io.structured import read_json, reading

MARK = "<!-- written by findna; the same command replaces this file -->\n"
"""How a page in Markdown begins that is replaced without being asked."""

_OURS = re.compile(b'"schema": "findna-|Software\\0findna|' + re.escape(MARK.encode().strip()))
_HEAD = 500


def read_stored(path: Path, *, schema: str, what: str) -> dict[str, Any]:
    """The content of a JSON file of this schema.

    Args:
        path: The file.
        schema: Its expected schema.
        what: The kind of file for messages, such as "benchmark result".

    Raises:
        TableError: It cannot be read, is damaged, or is another file.
    """
    with reading(path, f"a valid {what}"):
        content = read_json(path)
    if not isinstance(content, dict) or content.get("schema") != schema:
        raise TableError(f"is not a valid {what}: its schema is not {schema!r}", path=path)
    return content


def refuse_foreign(*paths: Path) -> None:
    """Raise if a file exists that findna did not write: JSON, Markdown or PNG without our mark in its first bytes.

    Raises:
        OutputError: One is foreign, or cannot be read.
    """
    for path in paths:
        refuse_irregular(path)
        if not path.exists():
            continue
        with writing(path), open_regular(path) as file:
            is_ours = _OURS.search(file.read(_HEAD))
        if not is_ours:
            raise OutputError(f"{path}: exists and is not a file of findna: move it, or choose another folder")
