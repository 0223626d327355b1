"""Reads, checks and sorts the parts of a sharded run."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from findna import __version__
from findna.counts import counted
from findna.errors import TableError
from findna.io.files import storable
from findna.io.layout import naming
from findna.io.outputs import tokens_path
from findna.io.reader import EmbeddingReader
from findna.io.rows import BLOCK, OBS_COLUMNS, Kind
from findna.io.spool import changes
from findna.io.tokens import TokensReader
from findna.limits import shown
from findna.runs.shard import missing_shards

Reader = TypeVar("Reader", bound=AbstractContextManager[Any])


class ShardFile(NamedTuple):
    """The facts of a part before its rows are read.

    Args:
        path: The file; its tokens are beside it.
        shard: See `findna.runs.shard.Part.to_dict`.
        meta: The content of uns/findna.
        columns: Name and kind of the obs columns.
        features: Names of the values of a vector.
        dtype: Of the vectors.
        cls_shape: (K, C) of the class tokens, or None.
        n_rows: Rows.
        n_skipped: Records skipped.
        tokens_shape: (bases, C) of the tokens, or None.
        var: Columns of the features.
    """

    path: Path
    shard: Mapping[str, int]
    meta: Mapping[str, Any]
    columns: dict[str, Kind]
    features: list[str]
    dtype: np.dtype[Any]
    cls_shape: tuple[int, int] | None
    n_rows: int
    n_skipped: int
    tokens_shape: tuple[int, int] | None
    var: Mapping[str, Sequence[Any]]


def read_part(path: Path) -> ShardFile:
    with naming(path), EmbeddingReader(path) as reader:
        meta, kinds = reader.meta, reader.kinds
        shard = shard_of(meta, path)
        part = ShardFile(
            path,
            shard,
            meta,
            {name: OBS_COLUMNS.get(name, kind) for name, kind in kinds.items()},
            reader.features,
            reader.x.dtype,
            tuple(reader.cls.shape[1:]) if reader.cls is not None else None,
            len(reader),
            reader.n_skipped,
            _read_tokens_shape(reader) if meta["params"].get("with_tokens") else None,
            {name: values.tolist() for name, values in reader.var.items()},
        )
    return checked_part(part)


def checked_part(part: ShardFile) -> ShardFile:
    """The part, if it has as many records as its shard.

    Raises:
        TableError: It has not.
    """
    n_records, n_found = part.shard["n_records"], part.n_rows + part.n_skipped
    if n_found != n_records:
        raise TableError(f"holds {counted(n_found, 'record')}, but its shard has {n_records:,}", path=part.path)
    return part


def shard_of(meta: Mapping[str, Any], path: Path) -> Mapping[str, int]:
    """The shard of a part; see `findna.runs.shard.Part.to_dict`."""
    shard = meta.get("shard")
    if shard is None:
        raise TableError("is the output of a complete run, not a part; a run with shard=i/n writes a part", path=path)
    names = ("number", "n", "first", "n_records", "n_total")
    is_whole = isinstance(shard, dict) and all(type(shard.get(name)) is int and shard[name] >= 0 for name in names)
    if not is_whole or not 1 <= shard["number"] <= shard["n"]:
        raise TableError(f"is damaged: its shard is {shown(shard)}", path=path)
    return {name: int(shard[name]) for name in names}


def _read_tokens_shape(reader: EmbeddingReader) -> tuple[int, int]:
    path = tokens_path(reader.path)
    with naming(path), TokensReader(path) as tokens:
        if len(tokens.id) != len(reader):
            raise TableError(f"has {len(tokens.id):,} sequences, {reader.path.name} {len(reader):,}", path=path)
        for start in range(0, len(reader), BLOCK):
            rows = slice(start, start + BLOCK)
            obs = reader.read_obs(rows)
            lengths = np.diff(tokens.indptr[start : start + BLOCK + 1])
            if (obs["id"] != tokens.id[rows]).any() or (obs["length"] != lengths).any():
                raise TableError(f"has other sequences than {reader.path.name}", path=path)
        return tokens.x.shape[0], tokens.x.shape[1]


def in_order(parts: Sequence[ShardFile]) -> list[ShardFile]:
    """The parts by the number of their shard.

    Raises:
        TableError: They do not belong together, or are not all there.
    """
    by_number: dict[int, ShardFile] = {}
    for part in parts:
        _refuse_stranger(part, parts[0])
        number, n = part.shard["number"], part.shard["n"]
        if number in by_number:
            raise TableError(f"is shard {number}/{n}, and so is {by_number[number].path}", path=part.path)
        by_number[number] = part
    n = parts[0].shard["n"]
    found = {number: (part.path, str(part.meta["provenance"].get("command", ""))) for number, part in by_number.items()}
    if missing := missing_shards(found, n):
        raise TableError(missing)
    ordered = [by_number[number] for number in range(1, n + 1)]
    end = 0
    for part in ordered:
        if part.shard["first"] != end:
            reason = f"begins at record {part.shard['first']:,}, but the shard before it ends at {end:,}"
            raise TableError(reason, path=part.path)
        end += part.shard["n_records"]
    if end != ordered[-1].shard["n_total"]:
        reason = f"is the last shard and ends at record {end:,} of {ordered[-1].shard['n_total']:,}"
        raise TableError(reason, path=ordered[-1].path)
    return ordered


def _refuse_stranger(part: ShardFile, first: ShardFile) -> None:
    with naming(part.path):
        differing = changes(identity_of(first), identity_of(part), is_part=True)
    if not differing and part.n_rows and first.n_rows and part.columns != first.columns:
        differing = f"its columns are {' '.join(part.columns)}, there {' '.join(first.columns)}"
    if differing:
        raise TableError(f"does not belong to {first.path}: {differing}", path=part.path)


def identity_of(part: ShardFile) -> dict[str, Any]:
    """The common facts of the parts of one run; the paths of their input and genome may differ."""
    meta = part.meta
    return {
        "findna": meta["provenance"]["versions"]["findna"],
        "model": meta["model"],
        **{
            f"input {number}": {key: facts.get(key) for key in ("bytes", "sha256")}
            for number, facts in enumerate(meta["inputs"], 1)
        },
        "genome": {key: meta["genome"].get(key) for key in ("bytes", "n_contigs", "digest")},
        "params": meta["params"],
        "features": part.features,
        "class tokens": part.cls_shape,
        "number of shards": part.shard["n"],
        "number of records": part.shard["n_total"],
    }


def provenance_of(parts: Sequence[ShardFile], command: str, started: datetime) -> dict[str, Any]:
    """How a merge was made, and each of its parts."""
    kept = ("command", "device", "kernels", "threads", "processes", "started", "ended", "system", "working_directory")
    return {
        "command": command,
        "versions": {"findna": __version__, "numpy": version("numpy"), "h5py": version("h5py")},
        "started": started.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "working_directory": storable(Path.cwd()),
        "parts": [
            {"path": str(part.path), **{key: part.meta["provenance"].get(key) for key in kept}} for part in parts
        ],
    }
