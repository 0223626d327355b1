"""The machine-readable report of a command."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from findna.errors import OutputError
from findna.io.files import write_atomic

_HEAD = b'{\n  "'
"""How a report begins."""


def write_report(path: Path | None, report: Mapping[str, Any]) -> None:
    """Write a report as JSON, whole or not at all; nothing where no file is named. An earlier report is replaced.

    Raises:
        OutputError: It cannot be written, or the file exists and is not a report, such as an input.
    """
    if path is not None:
        if path.is_file():
            with path.open("rb") as file:
                if file.read(len(_HEAD)) not in (_HEAD, b""):
                    raise OutputError(f"{path}: exists and is not a report of findna: choose another name")
        write_atomic(path, json.dumps(report, indent=2) + "\n")
