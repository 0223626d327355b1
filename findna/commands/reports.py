"""The machine-readable report of a command."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from findna import __version__
from findna.errors import OutputError
from findna.io.files import write_atomic, writing

_HEAD = b'{\n  "report": "findna '
"""The beginning of every report, and of no other file."""


def check_report_place(path: Path) -> None:
    """Raise unless a report can be written to this path.

    Raises:
        OutputError: The folder does not exist or is read-only, the device takes no bytes, or the file is not a
            report, such as an input.
    """
    if path.is_dir():
        raise OutputError(f"{path}: is a folder, not a file")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist")
    if not path.exists() and not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: the folder {path.parent} is read-only")
    if path.is_char_device():
        with path.open("wb", buffering=0) as file, writing(path):
            file.write(b"" if file.isatty() else b"\n")
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(_HEAD)) not in (_HEAD, b""):
                raise OutputError(f"{path}: exists and is not a report of findna: choose another name")


def write_report(path: Path | None, report: Mapping[str, Any]) -> None:
    """Write a report as JSON, completely or not at all; do nothing without a path. An earlier report is replaced.

    Raises:
        OutputError: It cannot be written, or another file has its name.
    """
    if path is not None:
        check_report_place(path)
        write_atomic(path, json.dumps({"report": f"findna {__version__}", **report}, indent=2) + "\n")
