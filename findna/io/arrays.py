"""The common part of files with results per base: records, skipped records, run; existing files are refused."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from findna.errors import InputError, OutputError
from findna.io.files import already_exists, require_folder
from findna.io.rows import Checksums
from findna.record import Record
from findna.sequence import BASES, decode

_BLOCK_BYTES = 1 << 24


def require_absent(path: Path, *, force: bool) -> None:
    """Raise if the output exists, or cannot be written because its folder does not exist.

    Raises:
        OutputError: It exists and must not be replaced, is not a regular file, or has no folder.
    """
    require_folder(path)
    if path.exists() and not path.is_file():
        raise OutputError(f"{path}: is not a regular file")
    if path.exists() and not force:
        raise already_exists(path)


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
    """Write the attributes: schema, the run (JSON), checksum, and that the file is complete."""
    attributes = {"findna_schema": schema, "bases": BASES, "checksum": content_checksum(file), "complete": True}
    file.attrs.update(attributes | {name: json.dumps(value) for name, value in facts.items()})


def content_checksum(file: h5py.File) -> str:
    """sha256 of the values of all datasets of a file."""
    checksums = Checksums()

    def add(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        checksums.add("content", f"{name} {item.shape}\n".encode())
        n_rows = max(1, _BLOCK_BYTES // max(1, item.dtype.itemsize * math.prod(item.shape[1:])))
        for start in range(0, item.shape[0], n_rows):
            values = item[start : start + n_rows]
            is_text = values.dtype == object
            checksums.add("content", b"\n".join(values.tolist()) if is_text else np.ascontiguousarray(values).tobytes())

    file.visititems(add)
    return checksums.hex().get("content", "")


def skipped_lines(skipped: Sequence[InputError]) -> str:
    """The skipped records, as comment lines at the end of a text output."""
    return "".join(f"# skipped: {' '.join(str(error).split())}\n" for error in skipped)
