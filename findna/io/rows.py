"""The rows of an output, and their form in a spool: fixed-size vectors, and lines of JSON columns."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from findna.errors import InputError, ModelError, OutputError
from findna.io.virtual import VirtualSource

Kind = Literal["string", "categorical", "int32", "int64", "float32"]

OBS_COLUMNS: Mapping[str, Kind] = {
    "id": "string",
    "name": "string",
    "chrom": "categorical",
    "start": "int64",
    "end": "int64",
    "strand": "categorical",
    "source": "categorical",
    "row": "int64",
    "length": "int64",
    "n_windows": "int32",
    "frac_n": "float32",
    "n_iupac": "int64",
}
"""The columns of every output, in order; an input may add columns (`OBS_COLUMNS | {"flag": "int32"}`)."""

VAR_COLUMNS: Mapping[str, Kind] = {
    "block": "int32",
    "pool": "categorical",
    "channel": "int32",
    "mean": "float32",
    "sd": "float32",
}
"""The columns of each feature besides its name: where it is read, and its mean and sd on reference windows."""

SKIPPED_COLUMNS: Mapping[str, Kind] = {
    "id": "string",
    "source": "string",
    "row": "int64",
    "line": "int64",
    "reason": "string",
}

Columns = Mapping[str, Sequence[Any]]
"""Values of rows by column."""

BLOCK = 2048
"""Rows handled at a time when the final file is assembled."""

_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",\n", ":")).encode
_dumps_line = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Block(NamedTuple):
    """Consecutive rows of a spool.

    Args:
        start: Index of the first.
        x: Vectors, shape (n, D).
        obs: Their columns, n values each.
        cls: Class tokens, shape (n, K, C), or None.
        lines: The rows as `json_lines`, if known.
    """

    start: int
    x: NDArray[Any]
    obs: dict[str, list[Any]]
    cls: NDArray[Any] | None
    lines: bytes = b""

    @property
    def rows(self) -> slice:
        """Their place in the output."""
        return slice(self.start, self.start + len(self.x))


@dataclass(frozen=True)
class Layout:
    """The contents of a row of an output.

    Args:
        columns: Name and kind of its columns, in order.
        features: Names of its values.
        dtype: Of its values.
        cls_shape: (K, C) of the class tokens, or None.
        tokens_dim: C of the tokens, or None.
        var: `VAR_COLUMNS` of the features; {} if not known.
        order: Order of a TSV's columns, see `findna.io.tables.write_tsv`.
    """

    columns: Mapping[str, Kind]
    features: Sequence[str]
    dtype: Literal["float32", "float16"] = "float32"
    cls_shape: tuple[int, int] | None = None
    tokens_dim: int | None = None
    var: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    order: Sequence[str] = ()


@dataclass(frozen=True)
class Rows:
    """All rows of a spool, on disk; an output file is assembled from them.

    Args:
        folder: Folder with the files `x`, `cls`, `tokens` (rows of fixed size) and `obs`, `skipped` (`obs_line`s).
        columns: Name and kind of the columns of `obs`.
        features: Names of the D values of a vector.
        dtype: Of vectors and class tokens.
        cls_shape: (K, C) of the class tokens, or None.
        tokens_dim: C of the tokens, or None.
        n_rows: Rows written.
        n_skipped: Records skipped.
        var: `VAR_COLUMNS` of the features, D values each; {} if not known.
        sources: Files with the rows, for an output that points to them; (): the rows are copied.
    """

    folder: Path
    columns: Mapping[str, Kind]
    features: Sequence[str]
    dtype: np.dtype[Any]
    cls_shape: tuple[int, int] | None
    tokens_dim: int | None
    n_rows: int = 0
    n_skipped: int = 0
    var: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    sources: tuple[VirtualSource, ...] = ()

    @property
    def n_tokens(self) -> int:
        """Number of bases of all rows, if there are tokens."""
        return self._size("tokens") // (2 * (self.tokens_dim or 1))

    @property
    def n_bytes(self) -> tuple[int, int]:
        """Number of bytes of the matrices, and of everything else."""
        return sum(map(self._size, ("x", "cls", "tokens"))), sum(map(self._size, ("obs", "skipped")))

    def blocks(self) -> Iterator[Block]:
        """The rows in order, `BLOCK` at a time."""
        arrays = self._arrays("x", self.dtype, (len(self.features),))
        tokens = self._arrays("cls", self.dtype, self.cls_shape) if self.cls_shape else itertools.repeat(None)
        start = 0
        for x, cls, obs in zip(arrays, tokens, _column_blocks(self.folder / "obs", self.columns), strict=False):
            yield Block(start, x, obs, cls)
            start += len(x)

    def obs(self, names: Sequence[str]) -> Iterator[tuple[slice, dict[str, list[Any]]]]:
        """Some columns of the rows, with their place, `BLOCK` rows at a time."""
        for block in self.blocks():
            yield block.rows, {name: block.obs[name] for name in names}

    def skipped(self) -> Iterator[dict[str, list[Any]]]:
        """The columns `SKIPPED_COLUMNS` of the skipped records, `BLOCK` at a time."""
        return _column_blocks(self.folder / "skipped", SKIPPED_COLUMNS)

    def tokens(self) -> Iterator[NDArray[np.float16]]:
        """The tokens of all rows in order, in pieces of shape (n, C)."""
        return self._arrays("tokens", np.dtype("<f2"), (self.tokens_dim or 0,))

    def _size(self, name: str) -> int:
        path = self.folder / name
        return path.stat().st_size if path.exists() else 0

    def _arrays(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Iterator[NDArray[Any]]:
        n_bytes = BLOCK * dtype.itemsize * int(np.prod(shape))
        with (self.folder / name).open("rb") as file:
            while content := file.read(n_bytes):
                yield np.frombuffer(content, dtype).reshape(-1, *shape)


class Checksums:
    """sha256 of the content of an output, by part, independent of blocks and file format."""

    def __init__(self) -> None:
        self._parts: dict[str, Any] = {}

    def add(self, part: str, content: bytes | NDArray[Any]) -> None:
        """Add the next bytes of a part."""
        self._parts.setdefault(part, hashlib.sha256()).update(content)

    def add_columns(self, part: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Add the next rows of a table."""
        self.add(part, json_lines(columns.values()).encode())

    def add_block(self, block: Block) -> None:
        """Add the next rows."""
        self.add("X", np.ascontiguousarray(block.x))
        self.add("obs", block.lines or json_lines(block.obs.values()).encode())
        if block.cls is not None:
            self.add("X_cls", np.ascontiguousarray(block.cls))

    def hex(self) -> dict[str, str]:
        """The checksums so far."""
        return {part: digest.hexdigest() for part, digest in self._parts.items()}


def columns_of(rows: Sequence[Mapping[str, Any]], names: Iterable[str]) -> Columns:
    """The columns of rows.

    >>> columns_of([{"a": 1, "b": 2}, {"a": 3, "b": 4}], ["b", "a"])
    {'b': [2, 4], 'a': [1, 3]}
    """
    return {name: [row[name] for row in rows] for name in names}


def obs_line(columns: Mapping[str, Kind], obs: Columns) -> bytes:
    """Rows as one line of JSON: a list of columns, each a list of values, or one value if all rows have the same.

    The first column is always a list.

    Raises:
        InputError: A string holds a NUL or is not Unicode; the text names the row.
    """
    first, *others = (_CASTS[kind](obs[name]) for name, kind in columns.items())
    try:
        text = _dumps_line([first, *(values[0] if _is_constant(values) else values for values in others)])
        if "\\u0000" in text:
            _refuse_nul(columns, obs)
        return text.encode() + b"\n"
    except UnicodeEncodeError as error:
        around = error.object[max(0, error.start - 40) : error.end + 10]
        raise InputError(f"{around!r} is not Unicode text") from error


def json_lines(columns: Iterable[Sequence[Any]]) -> str:
    """One JSON list per row and line. All values of a column have the same type.

    >>> json_lines([["a", "b"], [1, 2], ["%", "%"], [0.5, 1.0]])
    '["a",1,"%",0.5]\\n["b",2,"%",1.0]\\n'
    """
    first, *others = columns
    varying, fields = [_json_values(first)], ["%s"]
    for values in others:
        if _is_constant(values):
            fields.append(_dumps(values[0]).replace("%", "%%"))
        else:
            fields.append("%s")
            varying.append(_json_values(values))
    line = f"[{','.join(fields)}]\n"
    return "".join(map(line.__mod__, zip(*varying, strict=True)))


def _is_constant(values: Sequence[Any]) -> bool:
    """Whether all values are the same text or integer; never for floats, because 0.0 and -0.0 are equal."""
    return bool(values) and type(values[0]) in _ENCODERS and values.count(values[0]) == len(values)


def _json_values(values: Sequence[Any]) -> Sequence[str]:
    encode = _ENCODERS.get(type(values[0])) if values else None
    return list(map(encode, values)) if encode else _dumps(values)[1:-1].split(",\n") if values else ()


def checked(
    values: NDArray[Any], dtype: np.dtype[Any], shape: tuple[int, ...], *, ids: Sequence[str] = ()
) -> NDArray[Any]:
    """Vectors in their stored form, C-contiguous.

    Raises:
        ValueError: The shape is another.
        ModelError: One holds NaN or Inf.
        OutputError: One is outside the range of float16.
    """
    if values.shape != shape:
        raise ValueError(f"vectors have shape {values.shape}, not {shape}")
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(values, dtype)
    if np.isfinite(stored).all():
        return stored
    first = int(np.argwhere(~np.isfinite(stored))[0, 0])
    record = f"record {ids[first]}" if ids else "a record"
    if np.isfinite(values).all():
        raise OutputError(f"{record}: a value is too large for float16; use dtype=float32")
    raise ModelError(f"{record}: its vector holds NaN or Inf; try precision=fp32, or check the model")


def printable(value: Any) -> str:
    """A value as a field of a TSV row: tabs and line ends become spaces.

    >>> printable("a\\tb"), printable(0.1), printable(7)
    ('a b', '0.1', '7')
    """
    if type(value) is str:
        return value if value.isprintable() else value.translate(_BLANKS)
    return str(np.float32(value)) if type(value) is float else str(value)


_BLANKS = dict.fromkeys(map(ord, "\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"), " ")  # str.splitlines breaks at each
_ENCODERS: Mapping[type, Callable[[Any], str]] = {str: encode_basestring, int: int.__repr__}
_CASTS: Mapping[str, Callable[[Sequence[Any]], list[Any]]] = {
    "string": list,
    "categorical": list,
    "int32": lambda values: list(map(int, values)),
    "int64": lambda values: list(map(int, values)),
    "float32": lambda values: np.array(values, np.float32).tolist(),
}


def _column_blocks(path: Path, names: Iterable[str]) -> Iterator[dict[str, list[Any]]]:
    """The columns in the lines of `obs_line`, `BLOCK` rows at a time."""
    held: dict[str, list[Any]] = {name: [] for name in names}
    n_held = 0
    with path.open("rb") as file:
        for line in file:
            columns = json.loads(line)
            for kept, values in zip(held.values(), columns, strict=True):
                kept += values if isinstance(values, list) else [values] * len(columns[0])
            n_held += len(columns[0])
            while n_held >= BLOCK:
                yield {name: values[:BLOCK] for name, values in held.items()}
                held = {name: values[BLOCK:] for name, values in held.items()}
                n_held -= BLOCK
    if n_held:
        yield held


def _refuse_nul(columns: Iterable[str], obs: Columns) -> None:
    for name in columns:
        for id, value in zip(obs["id"], obs[name], strict=True):
            if "\0" in str(value):
                raise InputError(f"its {name} contains a NUL byte", record=str(id).replace("\0", "\\0"))
