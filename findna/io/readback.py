"""An assembled HDF5 file is read back and compared with the rows it was made of, before it gets its name."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from findna.errors import OutputError, TableError
from findna.io.reader import EmbeddingReader
from findna.io.rows import Checksums, Rows
from findna.io.tokens import TokensReader
from findna.io.virtual import open_source, pieces_of


def check_embeddings(path: Path, rows: Rows, uns: Mapping[str, Any], *, n_expected: int) -> None:
    """Compare an embedding file with the rows and the metadata that it must hold: every value of it.

    Raises:
        OutputError: It cannot be read, or something in it differs; the text says what.
    """
    with _telling(path), EmbeddingReader(path) as reader:
        _compare("var", reader.features, list(rows.features))
        _compare("the columns of var", list(reader.var), list(rows.var))
        for name, values in reader.var.items():
            _compare(f"var/{name}", values, np.array(rows.var[name], dtype=values.dtype))
        _compare("n_expected", reader.meta["n_expected"], n_expected)
        for name, value in uns.items():
            _compare(name, json.dumps(reader.meta.get(name)), json.dumps(value))
        n_rows, checksums = 0, Checksums()
        for block in rows.blocks():
            checksums.add_block(block)
            _compare("X", reader.x[block.rows], block.x, at=block.start)
            if block.cls is not None:
                _compare("X_cls", reader.cls[block.rows], block.cls, at=block.start)
            for name, values in reader.read_obs(block.rows).items():
                _compare(f"obs/{name}", values.tolist(), block.obs[name], at=block.start)
            n_rows += len(block.x)
        _compare("the number of rows", [n_rows, len(reader)], [rows.n_rows, rows.n_rows])
        _compare("the number of skipped records", reader.n_skipped, _check_skipped(reader, rows, checksums))
        _compare("checksums", reader.meta["checksums"], checksums.hex())


def check_tokens(path: Path, rows: Rows) -> None:
    """Compare a token file with the tokens that it must hold: every value of it.

    Raises:
        OutputError: As in `check_embeddings`.
    """
    with _telling(path), TokensReader(path) as reader:
        start = 0
        for tokens in rows.tokens():
            _compare("X", reader.x[start : start + len(tokens)], tokens, at=start)
            start += len(tokens)
        _compare("the number of bases", [start, len(reader.x)], [rows.n_tokens, rows.n_tokens])
        for block in rows.blocks():
            at = block.start
            lengths = np.diff(reader.indptr[at : at + len(block.x) + 1]).tolist()
            _compare("indptr", lengths, block.obs["length"], at=at)
            _compare("id", reader.id[block.rows].tolist(), block.obs["id"], at=at)
        _compare("the number of rows", len(reader.id), rows.n_rows)


def check_joined(path: Path, folder: Path) -> None:
    """Compare the last vector or token, and the last id, of each part with what a file in `folder` will show of it.

    Raises:
        OutputError: As in `check_embeddings`.
    """
    beside = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    beside.set_virtual_prefix(bytes(folder.absolute()))
    with _telling(path), h5py.File(path, "r") as file:
        for name in [name for name in ("X", "obs/id", "id") if name in file and file[name].is_virtual]:
            dataset = h5py.Dataset(h5py.h5d.open(file.id, name.encode(), beside))
            end = 0
            for piece in pieces_of(dataset):
                end += piece.n_rows
                with open_source(folder, piece.name) as source:
                    _compare(name, dataset[end - 1 : end], source[piece.place][-1:], at=end - 1)


def _check_skipped(reader: EmbeddingReader, rows: Rows, checksums: Checksums) -> int:
    """Compare the list of skipped records; how many the spool has."""
    start = 0
    for columns in rows.skipped():
        checksums.add_columns("skipped", columns)
        stop = start + len(columns["id"])
        for name, values in reader.read_skipped(slice(start, stop)).items():
            _compare(f"skipped/{name}", values.tolist(), columns[name], at=start)
        start = stop
    return start


def _compare(what: str, found: Any, expected: Any, *, at: int | None = None) -> None:
    is_array = isinstance(expected, np.ndarray)
    if _same_bytes(found, expected) if is_array else found == expected:
        return
    place = "" if at is None else f" at row {at + _first_difference(found, expected):,}"
    raise OutputError(f"{what}{place} is not what was written")


def _same_bytes(found: NDArray[Any], expected: NDArray[Any]) -> bool:
    if found.dtype != expected.dtype or found.shape != expected.shape:
        return False
    is_text = expected.dtype == object
    return bool((found == expected).all()) if is_text else found.tobytes() == expected.tobytes()


def _first_difference(found: Sequence[Any], expected: Sequence[Any]) -> int:
    pairs = zip(found, expected, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if np.any(a != b)), min(len(found), len(expected)))


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except OutputError as problem:
        raise OutputError(f"read back from disk, {problem}") from problem
    except (TableError, OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as problem:
        text = " ".join(str(problem).split())
        raise OutputError(f"read back from disk, {path.name} is damaged: {text}") from problem
