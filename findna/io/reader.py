"""EmbeddingReader: the content of a `findna-embedding/1` file, also after anndata has saved it again."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from findna.counts import counted
from findna.errors import TableError
from findna.io.compressed import STDIN
from findna.io.foreign import open_foreign
from findna.io.h5ad import SCHEMA
from findna.io.layout import check_layout, naming
from findna.io.rows import BLOCK, Block, Checksums, Kind, json_lines

Selection = slice | NDArray[np.integer[Any]]
Column = Callable[[Selection], NDArray[Any]]
"""Reads rows of a column."""


@dataclass(frozen=True, repr=False)
class Embeddings:
    """Vectors and their columns.

    Args:
        x: Vectors, shape (n, D), float32; float16 if the file has float16.
        obs: Columns of n values each: id, name, chrom, start, end (0-based, half-open), strand, length, n_windows,
            frac_n and others. `pandas.DataFrame(e.obs)` makes a table of them.
        features: Names of the D values of a vector.
        var: Columns of D values each: block, pool, channel, and mean and sd on the model's reference windows (NaN
            if not known).
        skipped: Columns id, source, row, line (-1: none) and reason of the records without a vector.
        meta: How they were made: model and params; for a file also provenance, genome and inputs.
    """

    x: NDArray[Any]
    obs: dict[str, NDArray[Any]]
    features: list[str]
    var: dict[str, NDArray[Any]]
    skipped: dict[str, NDArray[Any]]
    meta: dict[str, Any]

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        return f"Embeddings(x={self.x.shape} {self.x.dtype}, obs={list(self.obs)})"


class EmbeddingReader:
    """An open embedding file; a context manager. Data is read only when it is used.

    Args:
        path: The file.
        is_own: This process wrote it just now, so libhdf5 can read it without a crash.

    Attributes:
        x: The vectors, an h5py dataset of shape (N, D): slice it.
        cls: The class tokens, an h5py dataset of shape (N, K, C), or None.

    Raises:
        TableError: It is absent, damaged, of another kind, or incomplete.
    """

    def __init__(self, path: Path | str, *, is_own: bool = False) -> None:
        self.path = path = Path(path)
        self._file = open_hdf5(path, is_own=is_own)
        try:
            with naming(path):
                check_layout(self._file, path)
                self._check()
                self.x = self._file["X"]
                self.cls = self._file.get("obsm/X_cls")
                self._check_shapes()
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        return int(self.x.shape[0])

    @cached_property
    def meta(self) -> dict[str, Any]:
        """schema, complete, n_expected, provenance, model, genome, inputs, params."""
        group = self._file["uns/findna"]
        values = {name: item[()] for name, item in group.items() if name != "skipped"}
        texts = {name: value.decode() for name, value in values.items() if isinstance(value, bytes)}
        plain = {name: value.item() for name, value in values.items() if name not in texts}
        return plain | {name: text if name == "schema" else json.loads(text) for name, text in texts.items()}

    @cached_property
    def features(self) -> list[str]:
        """Names of the D values of a vector."""
        return list(_columns(self._file["var"])["id"](slice(None)))

    @cached_property
    def var(self) -> dict[str, NDArray[Any]]:
        """`findna.io.rows.VAR_COLUMNS` of the features, shape (D,) each; {} if the file has none."""
        return {name: read(slice(None)) for name, read in _columns(self._file["var"]).items() if name != "id"}

    @cached_property
    def columns(self) -> list[str]:
        """Names of the obs columns, `id` first."""
        return ["id", *map(str, self._file["obs"].attrs["column-order"])]

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """Name and kind of the obs columns."""
        obs = self._file["obs"]
        return {name: _kind(obs[obs.attrs["_index"] if name == "id" else name]) for name in self.columns}

    @cached_property
    def _obs_columns(self) -> "Mapping[str, Column]":
        return _columns(self._file["obs"])

    @cached_property
    def _skipped_columns(self) -> "Mapping[str, Column]":
        return _columns(self._file["uns/findna/skipped"])

    @cached_property
    def obs(self) -> dict[str, NDArray[Any]]:
        """The columns of all rows; strings are objects of type str."""
        return self.read_obs()

    @cached_property
    def skipped(self) -> dict[str, NDArray[Any]]:
        """id, source, row, line (-1: none) and reason of the skipped records."""
        return self.read_skipped(slice(None))

    @property
    def n_skipped(self) -> int:
        """Number of skipped records."""
        return _length(self._file["uns/findna/skipped"])

    def read_skipped(self, rows: Selection) -> dict[str, NDArray[Any]]:
        """A part of `skipped`."""
        return {name: read(rows) for name, read in self._skipped_columns.items()}

    def read_obs(self, rows: Selection | None = None, names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Some or all columns of some rows."""
        columns = self._obs_columns
        return {name: columns[name](slice(None) if rows is None else rows) for name in names or columns}

    def block(self, rows: slice) -> Block:
        """Consecutive rows."""
        obs = {name: values.tolist() for name, values in self.read_obs(rows).items()}
        cls = None if self.cls is None else self.cls[rows]
        return Block(rows.start, self.x[rows], obs, cls, json_lines(obs.values()).encode())

    def blocks(self) -> Iterator[Block]:
        """The rows in order, `BLOCK` at a time."""
        return map(self.block, _slices(len(self)))

    def checksums(self) -> dict[str, str]:
        """sha256 of the content of the file, by part, to compare with `meta["checksums"]`."""
        checksums = Checksums()
        for block in self.blocks():
            checksums.add_block(block)
        for rows in _slices(self.n_skipped):
            columns = self.read_skipped(rows)
            checksums.add_columns("skipped", {name: values.tolist() for name, values in columns.items()})
        return checksums.hex()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_shapes(self) -> None:
        """Refuse arrays whose shapes do not match the rows and features."""
        n_rows, n_features = len(self), _length(self._file["var"])
        cls_shape = (n_rows, 1, 1) if self.cls is None else self.cls.shape
        if self.x.shape != (n_rows, n_features) or self.x.dtype.kind != "f":
            raise TableError(f"is damaged: X is {self.x.dtype} of shape {self.x.shape}", path=self.path)
        if len(cls_shape) != 3 or cls_shape[0] != n_rows:
            raise TableError(f"is damaged: obsm/X_cls has shape {cls_shape}", path=self.path)
        for name, group, n in (
            ("obs", self._file["obs"], n_rows),
            ("skipped", self._file["uns/findna/skipped"], self.n_skipped),
        ):
            lengths = {str(column): _n_values(group[column]) for column in group.attrs["column-order"]}
            if odd := [f"{column} has {length:,}" for column, length in lengths.items() if length != n]:
                raise TableError(f"is damaged: {name} has {n:,} rows, and its column {odd[0]}", path=self.path)

    def _check(self) -> None:
        file = self._file
        schema = file.get("uns/findna/schema")
        if schema is None:
            kind = file.attrs.get("findna_schema", "another kind of HDF5 file")
            raise TableError(f"is not a {SCHEMA} file of `findna embed`, but {kind}", path=self.path)
        if schema[()].decode() != SCHEMA:
            raise TableError(f"has schema {schema[()].decode()}; this findna reads {SCHEMA}", path=self.path)
        try:
            n_expected, is_complete = (
                int(file["uns/findna/n_expected"][()]),
                bool(file["uns/findna/complete"][()]),
            )
            n_rows, n_skipped = file["X"].shape[0], _length(file["uns/findna/skipped"])
        except (KeyError, AttributeError) as error:
            raise TableError(f"is damaged: {error}", path=self.path) from error
        if not is_complete or n_rows + n_skipped != n_expected or n_rows != _length(file["obs"]):
            raise TableError(
                f"is incomplete: {counted(n_rows, 'row')} and {n_skipped:,} skipped of {counted(n_expected, 'record')}",
                path=self.path,
            )


def read_embeddings(path: Path | str, rows: Selection | None = None, *, is_mapped: bool = False) -> Embeddings:
    """The content of an embedding file, or some of its rows.

    Args:
        path: An output of `findna embed` or `findna.embed_file`, also after anndata saved it again.
        rows: A slice, or increasing row numbers; None: all rows.
        is_mapped: Map the vectors read-only into memory instead of reading them, so `x` may be larger than the
            memory.

    Raises:
        TableError: As in `EmbeddingReader`; or the vectors are to be mapped and are not stored in one piece, as in
            files of earlier versions.
        ValueError: The rows are not in the file or not in increasing order.
    """
    path = Path(path)
    with naming(path):
        reader = EmbeddingReader(path)
    with reader:
        _check_rows(rows, len(reader))
        with naming(path):
            x = (_mapped(reader.x, path) if is_mapped else reader.x)[slice(None) if rows is None else rows]
            return Embeddings(x, reader.read_obs(rows), reader.features, reader.var, reader.skipped, reader.meta)


def _check_rows(rows: Selection | None, n: int) -> None:
    if isinstance(rows, slice):
        if rows.step is not None and rows.step < 1:
            raise ValueError(f"rows: the step must be positive, not {rows.step}")
    elif rows is not None and (numbers := np.asarray(rows)).size:
        are_numbers = numbers.ndim == 1 and numbers.dtype.kind in "iu"
        if not are_numbers or numbers[0] < 0 or numbers[-1] >= n or (np.diff(numbers.astype(np.int64)) < 1).any():
            raise ValueError(f"rows must be increasing row numbers from 0 to {n - 1:,}")


def _mapped(dataset: h5py.Dataset, path: Path) -> NDArray[Any]:
    offset = dataset.id.get_offset()
    if offset is None and dataset.size:
        raise TableError("its vectors are not contiguous, so they cannot be mapped", path=path)
    if not dataset.size:
        return np.empty(dataset.shape, dataset.dtype)
    return np.memmap(path, dataset.dtype, mode="r", offset=offset, shape=dataset.shape)


def open_hdf5(path: Path, *, is_own: bool = False) -> h5py.File:
    """An HDF5 file to read.

    Args:
        path: The file.
        is_own: This process wrote it just now, so libhdf5 can read it without a crash.

    Raises:
        TableError: It is absent, no regular file, or not HDF5.
    """
    require_file(path)
    try:
        return h5py.File(path, "r", locking="best-effort") if is_own else open_foreign(path)
    except OSError as error:
        head = b"\0"
        with suppress(OSError), path.open("rb") as file:
            head = file.read(1 << 10) or head
        is_text = head.isascii() and b"\0" not in head
        reason = "is a text file, not HDF5" if is_text else "is not an HDF5 file, or is damaged"
        raise TableError(reason, path=path) from error


def require_file(path: Path) -> None:
    """Raise if a file that is to be read is absent, stdin, a folder or no regular file.

    Raises:
        TableError: It is.
    """
    if path.is_file():
        return
    reason = "is not a regular file" if path.exists() else "not found"
    if str(path) == STDIN:
        reason = "stdin cannot be read here; give a file"
    elif path.is_dir():
        is_run = path.suffix == ".partial"
        reason = (
            "is an unfinished run; the same command with resume=True continues it"
            if is_run
            else "is a folder; give a file"
        )
    raise TableError(reason, path=path)


def _slices(n_rows: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, n_rows)) for start in range(0, n_rows, BLOCK))


def _kind(element: Any) -> Kind:
    if isinstance(element, Mapping):
        if "codes" in element:
            return "categorical"
        element = element["values"]
    return "string" if h5py.check_string_dtype(element.dtype) else element.dtype.name


def _columns(group: h5py.Group) -> Mapping[str, Column]:
    names = map(str, group.attrs["column-order"])
    return {"id": _column(group[group.attrs["_index"]]), **{name: _column(group[name]) for name in names}}


def _column(element: Any) -> Column:
    """One column, also of the kinds that anndata writes when it saves the file again."""
    if isinstance(element, Mapping):
        if "codes" in element:
            categories, codes = _column(element["categories"])(slice(None)), element["codes"]
            return lambda rows: np.asarray(categories[codes[rows]])
        element = element["values"]
    if h5py.check_string_dtype(element.dtype):
        texts = element.asstr()
        return lambda rows: np.asarray(texts[rows], dtype=object)
    return lambda rows: np.asarray(element[rows])


def _length(group: h5py.Group) -> int:
    return _n_values(group[group.attrs["_index"]])


def _n_values(element: Any) -> int:
    """Number of values of a column of any kind."""
    if isinstance(element, Mapping):
        return len(element["codes" if "codes" in element else "values"])
    return len(element)
