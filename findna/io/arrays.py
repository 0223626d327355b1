"""What files of results per base have in common: no unasked replacement; their records, skipped ones, and run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from findna.errors import InputError, OutputError
from findna.record import Record
from findna.sequence import ALPHABET, N, decode


def require_absent(path: Path, *, force: bool) -> None:
    """Raise if an output is in the way.

    Raises:
        OutputError: It exists and is not to be replaced, or is no regular file.
    """
    if path.exists() and not path.is_file():
        raise OutputError(f"{path}: is not a regular file")
    if path.exists() and not force:
        raise OutputError(f"{path}: exists already; --force replaces it")


def write_records(file: h5py.File, records: Sequence[Record], skipped: Sequence[InputError]) -> None:
    """Write a dataset for each column of the records, and a group `skipped` with `id` and `reason`."""
    text = h5py.string_dtype()
    for name in ("id", "chrom", "strand"):
        file.create_dataset(name, data=[getattr(r, name) for r in records], dtype=text)
    for name in ("start", "end"):
        file.create_dataset(name, data=np.array([getattr(r, name) for r in records], np.int64))
    file.create_dataset("sequence", data=[decode(r.codes) for r in records], dtype=text)
    for name, values in (("id", [e.record for e in skipped]), ("reason", [str(e) for e in skipped])):
        file.create_dataset(f"skipped/{name}", data=values, dtype=text)


def write_facts(file: h5py.File, schema: str, facts: Mapping[str, Any]) -> None:
    """Say in the attributes what the file is, what the run was (JSON), and that it is complete."""
    attributes = {"findna_schema": schema, "bases": ALPHABET[:N], "complete": True}
    file.attrs.update(attributes | {name: json.dumps(value) for name, value in facts.items()})


def skipped_lines(skipped: Sequence[InputError]) -> str:
    """The records that were skipped as comment lines, which end a text output."""
    return "".join(f"# skipped: {' '.join(str(error).split())}\n" for error in skipped)
