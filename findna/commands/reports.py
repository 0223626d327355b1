"""The machine-readable report of a command."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from findna.io.files import write_atomic


def write_report(path: Path | None, report: Mapping[str, Any]) -> None:
    """Write a report as JSON, whole or not at all; nothing where no file is named.

    Raises:
        OutputError: It cannot be written.
    """
    if path is not None:
        write_atomic(path, json.dumps(report, indent=2) + "\n")
