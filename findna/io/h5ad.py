"""Writes `findna-embedding/1` (an .h5ad) and `findna-tokens/1` from a spool, block by block.

Every group and dataset has the encoding attributes of AnnData's on-disk format, so
`anndata.read_h5ad` can read the file. Strings are variable-length UTF-8.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from findna.io.hdf5_file import created
from findna.io.rows import BLOCK, SKIPPED_COLUMNS, VAR_COLUMNS, Checksums, Kind, Rows
from findna.io.virtual import join

SCHEMA = "findna-embedding/1"
TOKENS_SCHEMA = "findna-tokens/1"

_TEXT = h5py.string_dtype("utf-8")
_CHUNK_BYTES = 256 << 10
_ENCODINGS = {
    "array": "0.2.0",
    "string-array": "0.2.0",
    "categorical": "0.2.0",
    "dataframe": "0.2.0",
    "dict": "0.1.0",
    "string": "0.2.0",
    "numeric-scalar": "0.2.0",
    "anndata": "0.1.0",
}

Put = Callable[[slice, Sequence[Any]], None]
Pieces = Sequence[tuple[str, int]]


def write_embeddings(path: Path, rows: Rows, uns: Mapping[str, Any], *, n_expected: int) -> None:
    """Write the embedding file of a finished run; `uns` are its JSON values by name."""
    with created(path) as (file, sink):
        _encode(file, "anndata")
        file.attrs.update(findna_schema=SCHEMA, complete=True, n_expected=np.int64(n_expected))
        for name in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
            _encode(file.create_group(name), "dict")
        _write_features(file, rows)
        pieces = [(source.name, source.n_rows) for source in rows.sources]
        x = _rows(file, "X", rows.n_rows, (len(rows.features),), rows.dtype, pieces, is_one_piece=True)
        cls = _rows(file["obsm"], "X_cls", rows.n_rows, rows.cls_shape, rows.dtype, pieces) if rows.cls_shape else None
        checksums = Checksums()
        with _Frame(file, "obs", rows.columns, rows.n_rows, pieces) as obs:
            if pieces:
                for place, columns in rows.obs(obs.to_fill):
                    sink.check()
                    obs.put(place, columns)
            else:
                for block in rows.blocks():
                    sink.check()
                    checksums.add_block(block)
                    x[block.rows] = block.x
                    if cls is not None:
                        cls[block.rows] = block.cls
                    obs.put(block.rows, block.obs)
        _write_findna(file["uns"], rows, uns, n_expected, checksums)


def write_tokens(path: Path, rows: Rows) -> None:
    """Write the token file of a finished run: /X (sum of lengths, C), /indptr (N + 1,), /id."""
    with created(path) as (file, sink):
        file.attrs.update(findna_schema=TOKENS_SCHEMA, complete=True)
        pieces = [(source.tokens_name, source.n_tokens) for source in rows.sources]
        x = _rows(file, "X", rows.n_tokens, (rows.tokens_dim or 0,), np.dtype("<f2"), pieces)
        start, checksums = 0, Checksums()
        for block in () if pieces else rows.tokens():
            sink.check()
            checksums.add("X", block.tobytes())
            x[start : start + len(block)] = block
            start += len(block)
        indptr = _array(file, "indptr", (rows.n_rows + 1,), np.dtype("<i8"), compression="gzip")
        pieces = [(source.tokens_name, source.n_rows) for source in rows.sources]
        put_id = _put_text(_rows(file, "id", rows.n_rows, (), _TEXT, pieces))
        end = 0
        indptr[0] = 0
        for place, columns in rows.obs(["length"] if pieces else ["length", "id"]):
            ends = end + np.cumsum(columns["length"], dtype=np.int64)
            indptr[place.start + 1 : place.start + 1 + len(ends)] = ends
            end = int(ends[-1])
            if not pieces:
                put_id(place, columns["id"])
                checksums.add_columns("id", {"id": columns["id"], "length": columns["length"]})
        file.attrs["checksums"] = json.dumps(checksums.hex())


def n_bytes_needed(rows: Rows) -> int:
    """An upper bound of the bytes that the assembled HDF5 files take."""
    matrices, text = rows.n_bytes
    heap = 64 * (rows.n_rows + rows.n_skipped) * len(rows.columns)
    return int(1.02 * (matrices + 2 * text + heap)) + (1 << 20)


class _Frame(AbstractContextManager["_Frame"]):
    """A data frame that is filled block by block; `id` is its index.

    Args:
        parent: Its parent group.
        name: Its name.
        columns: Name and kind of its columns.
        n_rows: Number of rows.
        pieces: See `join`; then only categorical columns are filled.

    Attributes:
        to_fill: The columns that are to be filled.
    """

    def __init__(
        self, parent: h5py.Group, name: str, columns: Mapping[str, Kind], n_rows: int, pieces: Pieces = ()
    ) -> None:
        self._group = parent.create_group(name)
        _encode(self._group, "dataframe")
        self._group.attrs["_index"] = "id"
        order = [column for column in columns if column != "id"]
        self._group.attrs.create("column-order", order, dtype=_TEXT)
        self._categories: dict[str, dict[str, int]] = {}
        self._puts = {column: self._column(column, kind, n_rows, pieces) for column, kind in columns.items()}
        self.to_fill = [column for column, kind in columns.items() if kind == "categorical" or not pieces]

    def put(self, rows: slice, columns: Mapping[str, Sequence[Any]]) -> None:
        for name in self.to_fill:
            self._puts[name](rows, columns[name])

    def __exit__(self, error: object, *_: object) -> None:
        if error is None:
            for name, categories in self._categories.items():
                texts = _array(self._group[name], "categories", (len(categories),), _TEXT, compression="gzip")
                _put_text(texts)(slice(0, len(categories)), list(categories))

    def _column(self, name: str, kind: Kind, n_rows: int, pieces: Pieces) -> Put:
        if kind == "categorical":
            return self._categorical(name, n_rows)
        dataset = _rows(self._group, name, n_rows, (), _TEXT if kind == "string" else np.dtype(kind), pieces)
        return _put_text(dataset) if kind == "string" else dataset.__setitem__

    def _categorical(self, name: str, n_rows: int) -> Put:
        group = self._group.create_group(name)
        _encode(group, "categorical")
        group.attrs["ordered"] = False
        codes = _array(group, "codes", (n_rows,), np.dtype("<i4"), compression="gzip")
        categories = self._categories[name] = {}

        def put(rows: slice, values: Sequence[str]) -> None:
            for value in dict.fromkeys(values):
                categories.setdefault(value, len(categories))
            codes[rows] = list(map(categories.__getitem__, values))

        return put


def _write_features(file: h5py.File, rows: Rows) -> None:
    n = len(rows.features)
    with _Frame(file, "var", {"id": "string", **(VAR_COLUMNS if rows.var else {})}, n) as var:
        var.put(slice(0, n), {"id": rows.features, **rows.var})


def _write_findna(
    parent: h5py.Group, rows: Rows, uns: Mapping[str, Any], n_expected: int, checksums: Checksums
) -> None:
    group = parent.create_group("findna")
    _encode(group, "dict")
    _scalar(group, "schema", SCHEMA)
    _scalar(group, "complete", np.True_)
    _scalar(group, "n_expected", np.int64(n_expected))
    for name, value in uns.items():
        _scalar(group, name, json.dumps(value, ensure_ascii=False))
    with _Frame(group, "skipped", SKIPPED_COLUMNS, rows.n_skipped) as frame:
        start = 0
        for columns in rows.skipped():
            stop = start + len(columns["id"])
            frame.put(slice(start, stop), columns)
            checksums.add_columns("skipped", columns)
            start = stop
    _scalar(group, "checksums", json.dumps(checksums.hex()))


def _encode(element: Any, encoding: str) -> None:
    element.attrs["encoding-type"] = encoding
    element.attrs["encoding-version"] = _ENCODINGS[encoding]


def _array(
    parent: h5py.Group,
    name: str,
    shape: tuple[int, ...],
    dtype: Any,
    *,
    compression: str | None = None,
    is_one_piece: bool = False,
) -> h5py.Dataset:
    """A dataset in chunks, or contiguous so that `findna.read_embeddings` can map it."""
    per_row = dtype.itemsize * int(np.prod(shape[1:]))
    n_rows = BLOCK
    while n_rows > 1 and n_rows * per_row > _CHUNK_BYTES:
        n_rows //= 2  # so that a block is a whole number of chunks
    chunked = {"chunks": (n_rows, *shape[1:]), "maxshape": (None, *shape[1:]), "compression": compression}
    dataset = parent.create_dataset(name, shape, dtype, **({} if is_one_piece else chunked))
    _encode(dataset, "string-array" if dtype == _TEXT else "array")
    return dataset


def _rows(
    parent: h5py.Group,
    name: str,
    n_rows: int,
    shape: tuple[int, ...],
    dtype: Any,
    pieces: Pieces,
    *,
    is_one_piece: bool = False,
) -> h5py.Dataset:
    """A dataset with this many rows: to be filled, or pointing to the `pieces`."""
    if not pieces or not n_rows:
        compression = None if shape else "gzip"
        return _array(parent, name, (n_rows, *shape), dtype, compression=compression, is_one_piece=is_one_piece)
    dataset = join(parent, name, pieces, shape, dtype)
    _encode(dataset, "string-array" if dtype == _TEXT else "array")
    return dataset


def _put_text(dataset: h5py.Dataset) -> Put:
    def put(rows: slice, values: Iterable[str]) -> None:
        dataset[rows] = np.array(list(values), dtype=object)

    return put


def _scalar(parent: h5py.Group, name: str, value: Any) -> None:
    is_text = isinstance(value, str)
    parent.create_dataset(name, data=value, dtype=_TEXT if is_text else None)
    _encode(parent[name], "string" if is_text else "numeric-scalar")
