"""Merges parts in Parquet to a data set: a folder of files, which pyarrow, pandas and DuckDB read as one table."""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from findna import __version__
from findna.errors import OutputError, TableError
from findna.io.files import already_exists, sync_folder, temp_beside, write_atomic, writing
from findna.io.layout import naming
from findna.io.tables import open_parquet
from findna.io.written import open_written
from findna.runs.finished import read_output, require_same_run
from findna.runs.parts import ShardFile, checked_part, in_order, provenance_of, shard_of

SCHEMA = "findna-dataset/1"
FACTS = "_findna.json"
"""The file with the facts of the run; readers of data sets ignore names that begin with an underscore."""


def holds_vectors(path: Path) -> bool:
    """Whether a file is Parquet with vectors, not with scores."""
    if path.suffix != ".parquet" or not path.is_file():
        return False
    with open_parquet(path) as file:
        return b"findna" in (file.schema_arrow.metadata or {})


def merge_parquet(paths: Sequence[Path], out: Path, *, force: bool = False, command: str = "") -> dict[str, Any]:
    """Make a folder with the parts of all shards, in record order; each is compared with its checksums.

    Each part is a hard link to its file, or a copy if the file system has no hard links.

    Args:
        paths: The parts, in any order.
        out: The folder.
        force: Replace an existing data set.
        command: The command line, for the provenance.

    Returns:
        The report, as JSON values.

    Raises:
        TableError: A part is damaged, missing, duplicate, or does not belong to the others.
        OutputError: The folder exists, is not a data set, or cannot be written.
    """
    started, began = datetime.now(UTC), time.monotonic()
    parts = in_order([_read_part(path) for path in paths])
    _refuse(out)
    names = [f"part-{number:0{len(str(len(parts)))}}.parquet" for number in range(1, len(parts) + 1)]
    uns = {name: parts[0].meta[name] for name in ("model", "inputs", "genome", "params", "features")}
    uns = {"provenance": provenance_of(parts, command, started), **uns}
    counts = {"n_rows": sum(part.n_rows for part in parts), "n_skipped": sum(part.n_skipped for part in parts)}
    files = [{"name": name, "n_rows": part.n_rows} for name, part in zip(names, parts, strict=True)]
    facts = {"schema": SCHEMA, "complete": True, **counts, "files": files, **uns}
    report = {
        "findna": __version__,
        "outputs": [str(out)],
        "n_parts": len(parts),
        "n_records": parts[0].shard["n_total"],
        **counts,
        **uns,
    }
    if out.exists() and not force:
        _require_same(out, facts)
        return {**report, "nothing_to_do": True}
    for part in parts:
        with naming(part.path):
            open_written(part.path).check()
    temp = temp_beside(out)
    try:
        with writing(out):
            temp.mkdir()
            for name, part in zip(names, parts, strict=True):
                _link(part.path, temp / name)
            write_atomic(temp / FACTS, json.dumps(facts, ensure_ascii=False) + "\n")
            if out.exists():
                shutil.rmtree(out)
            temp.rename(out)
            sync_folder(out.absolute().parent)
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return {**report, "seconds": round(time.monotonic() - began, 3)}


def _refuse(out: Path) -> None:
    if not out.exists() and not out.is_symlink():
        return
    is_ours = out.is_dir() and not out.is_symlink() and (out / FACTS).is_file()
    if not is_ours or any(not path.match("part-*.parquet") and path.name != FACTS for path in out.iterdir()):
        raise OutputError(f"{out}: exists, and is not a data set of findna: choose another name")


def _require_same(out: Path, facts: Mapping[str, Any]) -> None:
    found = read_output(out, lambda out: dict(json.loads((out / FACTS).read_text(encoding="utf-8"))))
    if not found or not all((out / file["name"]).is_file() for file in facts["files"]):
        raise already_exists(out)
    require_same_run(out, found, facts)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source.resolve())
    except OSError:
        shutil.copyfile(source, target)


def _read_part(path: Path) -> ShardFile:
    with open_parquet(path) as file:
        stored, kinds = file.schema_arrow.metadata or {}, {field.name: field.type for field in file.schema_arrow}
        n_rows = file.metadata.num_rows
    try:
        meta = json.loads(stored[b"findna"])
        dtype = np.dtype(kinds.pop("embedding").value_type.to_pandas_dtype())
        columns: dict[str, Any] = {name: str(kind) for name, kind in kinds.items()}
        n_skipped = len(meta["skipped"])
        part = ShardFile(
            path, shard_of(meta, path), meta, columns, meta["features"], dtype, None, n_rows, n_skipped, None, {}
        )
    except (ValueError, KeyError, AttributeError) as error:
        raise TableError("is not an output of findna embed", path=path) from error
    return checked_part(part)
