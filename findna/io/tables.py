"""The other output formats: TSV, npy and Parquet from a spool, and TSV straight to a stream."""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from findna.counts import counted
from findna.errors import OutputError, TableError
from findna.extras import need
from findna.io.files import raise_output_error, sha256
from findna.io.h5ad import SCHEMA
from findna.io.rows import OBS_COLUMNS, SKIPPED_COLUMNS, Checksums, Columns, Kind, Rows, checked, printable

_FIRST = ("id", "chrom", "start", "end", "strand", "length", "frac_n")
_ROW_GROUP_BYTES = 16 << 20


def write_tsv(
    path: Path, rows: Rows, *, with_vectors: bool = True, is_gzip: bool = False, order: Sequence[str] = ()
) -> None:
    """Write the rows as text: the columns of `tsv_header`, with floats that can be read back exactly.

    Args:
        path: The file.
        rows: What to write.
        with_vectors: Whether to write the values.
        is_gzip: Whether to compress it.
        order: Names of columns and values, in their order in the file; the values then have six digits.
    """
    n_features = len(rows.features) if with_vectors else 0
    with _text_file(path, is_gzip=is_gzip) as file:
        file.write(_ordered_header(order) if order else tsv_header(rows.columns, n_features))
        for block in rows.blocks():
            if order:
                file.write(_ordered_rows(order, rows.features, block.obs, block.x))
            else:
                file.write(_tsv_rows(rows.columns, block.obs, block.x[:, :n_features]))


def tsv_header(columns: Mapping[str, Kind], n_features: int) -> bytes:
    """`id chrom start end strand length frac_n`, then the other columns, then e0 to eD-1."""
    return "\t".join([*_ordered(columns), *(f"e{i}" for i in range(n_features))]).encode() + b"\n"


def write_npy(path: Path, rows: Rows) -> None:
    """Write the vectors alone, shape (N, D); `np.load(path, mmap_mode="r")` reads a part."""
    header = {
        "descr": np.lib.format.dtype_to_descr(rows.dtype),
        "fortran_order": False,
        "shape": (rows.n_rows, len(rows.features)),
    }
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in rows.blocks():
            file.write(block.x.tobytes())


def write_meta(
    path: Path, rows: Rows, uns: Mapping[str, Any], *, n_expected: int, file_name: str, files: Mapping[str, Path]
) -> None:
    """Write the content of uns/findna of an HDF5 output as JSON, with the skipped records as a list of objects.

    Args:
        path: The file.
        rows: Its rows.
        uns: As for `write_parquet`.
        n_expected: Records of the input.
        file_name: Name of the output.
        files: The other files of the output; their sha256 are stored by name.
    """
    head = (
        {"schema": SCHEMA, "file": file_name}
        | _meta(uns, n_expected)
        | {"checksums": {name: sha256(file) for name, file in files.items()}}
        | {"columns": list(rows.columns), **_features(rows)}
    )
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head, ensure_ascii=False, indent=1)[:-2] + ',\n "skipped": [')
        separator = "\n  "
        for block in rows.skipped():
            for values in zip(*block.values(), strict=True):
                line = dict(zip(SKIPPED_COLUMNS, values, strict=True))
                file.write(separator + json.dumps(line, ensure_ascii=False))
                separator = ",\n  "
        file.write("]\n}\n")


def file_entry(path: Path) -> bytes:
    """The entry of an output in its metadata.

    >>> file_entry(Path("a/b.tsv"))
    b'"file": "b.tsv",'
    """
    return f'"file": {json.dumps(path.name, ensure_ascii=False)},'.encode()


def require_pyarrow() -> Any:
    """The pyarrow package.

    Raises:
        MissingExtraError: It is not installed.
    """
    return need("pyarrow.parquet", extra="parquet", purpose="a Parquet file")


def open_parquet(path: Path) -> Any:
    """A Parquet file to read, a context manager; pages are compared with their checksums.

    Raises:
        TableError: It is absent, or not a complete Parquet file.
    """
    arrow = require_pyarrow()
    try:
        return arrow.parquet.ParquetFile(path, page_checksum_verification=True)
    except FileNotFoundError as error:
        raise TableError("not found", path=path) from error
    except (arrow.ArrowInvalid, OSError) as error:
        raise TableError(f"is not a complete Parquet file: {error}", path=path) from error


def write_parquet(path: Path, rows: Rows, uns: Mapping[str, Any], *, n_expected: int) -> None:
    """Write the obs columns and the fixed-size lists `embedding`; uns is JSON under the metadata key `findna`."""
    arrow = require_pyarrow()
    kinds = {"string": arrow.string(), "categorical": arrow.dictionary(arrow.int32(), arrow.string())}
    types = {name: kinds.get(kind) or arrow.from_numpy_dtype(kind) for name, kind in rows.columns.items()}
    vector = arrow.list_(arrow.from_numpy_dtype(rows.dtype), len(rows.features))
    skipped = [dict(zip(b, values, strict=True)) for b in rows.skipped() for values in zip(*b.values(), strict=True)]
    meta = _meta(uns, n_expected) | _features(rows) | {"skipped": skipped}
    checksums = Checksums()
    schema = arrow.schema(
        [*types.items(), ("embedding", vector)], metadata={"findna": json.dumps(meta, ensure_ascii=False)}
    )
    with arrow.parquet.ParquetWriter(path, schema, use_dictionary=_categorical(rows.columns)) as writer:
        group: list[Any] = []
        for block in rows.blocks():
            checksums.add_block(block)
            columns = [arrow.array(block.obs[name], types[name]) for name in rows.columns]
            columns.append(arrow.FixedSizeListArray.from_arrays(arrow.array(block.x.reshape(-1)), type=vector))
            group.append(arrow.Table.from_arrays(columns, schema=schema))
            if len(group) * block.x.nbytes >= _ROW_GROUP_BYTES:
                writer.write_table(arrow.concat_tables(group))
                group = []
        if group or not rows.n_rows:
            writer.write_table(arrow.concat_tables(group) if group else schema.empty_table())
        writer.add_key_value_metadata({"findna_checksums": json.dumps(checksums.hex())})


class TsvStream:
    """The methods of `EmbeddingWriter` for a pipe: TSV rows at once, no spool, nothing to resume.

    A stream is complete only if it ends with the line `# complete n_rows=N n_skipped=M`.

    Args:
        file: A binary stream, such as `sys.stdout.buffer`; it is flushed, not closed.
        features: Names of the D values; only their number matters.
        obs_columns: Name and kind of the columns.
        dtype: float16 rounds the values as in a float16 file.
        order: As for `write_tsv`.
    """

    n_records_done = 0

    def __init__(
        self,
        file: BinaryIO,
        *,
        features: Sequence[str],
        obs_columns: Mapping[str, Kind] = OBS_COLUMNS,
        dtype: str = "float32",
        order: Sequence[str] = (),
    ) -> None:
        self._file, self._columns, self._dtype = file, obs_columns, np.dtype(dtype)
        self._features, self._order = features, order
        self.n_rows = self.n_skipped = 0
        self._put(_ordered_header(order) if order else tsv_header(obs_columns, len(features)))

    def write(self, x: NDArray[Any], obs: Columns, cls: NDArray[Any] | None = None) -> None:
        """Write rows; as in `EmbeddingWriter.write`."""
        if cls is not None:
            raise ValueError("a TSV cannot contain class tokens beside the vectors")
        ids = obs["id"]
        x = checked(x, self._dtype, (len(ids), len(self._features)), ids=ids)
        columns = {name: [_plain(value, kind) for value in obs[name]] for name, kind in self._columns.items()}
        if self._order:
            self._put(_ordered_rows(self._order, self._features, columns, x))
        else:
            self._put(_tsv_rows(self._columns, columns, x))
        self.n_rows += len(ids)

    def write_tokens(self, tokens: NDArray[Any]) -> None:
        """Refused: tokens need a file."""
        raise ValueError("tokens cannot be streamed as TSV")

    def skip(self, id: str, *, row: int, line: int | None, source: str, reason: str) -> None:
        """Count a skipped record."""
        self.n_skipped += 1

    def commit(self) -> None:
        """Flush the written rows to the pipe."""
        self._put(b"", flush=True)

    def finish(self, uns: Mapping[str, Any], *, n_expected: int) -> list[Path]:
        """Write the last line, which marks the stream as complete; a TSV has no `uns`.

        Raises:
            OutputError: Rows and skipped records are not `n_expected`.
        """
        if self.n_rows + self.n_skipped != n_expected:
            raise OutputError(f"{counted(n_expected, 'record')} came in, {self.n_rows + self.n_skipped:,} came out")
        self._put(f"# complete n_rows={self.n_rows} n_skipped={self.n_skipped}\n".encode(), flush=True)
        return []

    def discard(self) -> None:
        """Nothing to delete: the stream lacks its last line."""

    def close(self) -> None:
        """Nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, content: bytes, *, flush: bool = False) -> None:
        try:
            self._file.write(content)
            if flush:
                self._file.flush()
        except BrokenPipeError:  # the reader closed the pipe: not an error of the output
            raise
        except OSError as error:
            raise_output_error(error, Path("stdout"))


def _tsv_rows(columns: Mapping[str, Kind], obs: Mapping[str, Sequence[Any]], x: NDArray[Any]) -> bytes:
    digits = 9 if x.dtype.itemsize == 4 else 5  # enough to read back the same float32 or float16
    vector = f"\t%.{digits}g" * x.shape[1]
    fields = zip(*(map(printable, obs[name]) for name in _ordered(columns)), strict=True)
    values = map(tuple, x.tolist())
    return "".join(["\t".join(a) + vector % b + "\n" for a, b in zip(fields, values, strict=True)]).encode()


def _ordered_header(order: Sequence[str]) -> bytes:
    return "\t".join(map(printable, order)).encode() + b"\n"


def _ordered_rows(
    order: Sequence[str], features: Sequence[str], obs: Mapping[str, Sequence[Any]], x: NDArray[Any]
) -> bytes:
    values = {name: [f"{value:.6g}" for value in x[:, i].tolist()] for i, name in enumerate(features)}
    fields = zip(*(values[name] if name in values else map(printable, obs[name]) for name in order), strict=True)
    return "".join(["\t".join(row) + "\n" for row in fields]).encode()


def _ordered(columns: Mapping[str, Kind]) -> list[str]:
    first = [name for name in _FIRST if name in columns]
    return first + [name for name in columns if name not in first]


def _categorical(columns: Mapping[str, Kind]) -> list[str]:
    return [name for name, kind in columns.items() if kind == "categorical"]


def _plain(value: Any, kind: Kind) -> Any:
    return str(value) if kind in ("string", "categorical") else float(value) if kind == "float32" else int(value)


def _meta(uns: Mapping[str, Any], n_expected: int) -> dict[str, Any]:
    return {"schema": SCHEMA, "complete": True, "n_expected": n_expected, **uns}


def _features(rows: Rows) -> dict[str, Any]:
    """Names and columns of the features; an unknown mean or sd is null."""
    var = {name: [None if value != value else value for value in values] for name, values in rows.var.items()}
    return {"features": list(rows.features), **({"var": var} if var else {})}


@contextmanager
def _text_file(path: Path, *, is_gzip: bool) -> Iterator[Any]:
    with path.open("wb", buffering=1 << 20) as raw:
        if not is_gzip:
            yield raw
        else:  # no name and no time inside: the same rows give the same bytes
            with gzip.GzipFile("", "wb", 4, raw, mtime=0) as file:
                yield file
