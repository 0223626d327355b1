"""Reads an assembled HDF5 file back and compares it with its rows, before it gets its name."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from findna.errors import OutputError, TableError
from findna.io.reader import EmbeddingReader
from findna.io.rows import Rows
from findna.io.tokens import TokensReader
from findna.io.virtual import open_source, pieces_of


def check_embeddings(path: Path, rows: Rows, uns: Mapping[str, Any], *, n_expected: int) -> None:
    """Compare every value of an embedding file with the checksums and the metadata of its rows.

    Raises:
        OutputError: It cannot be read, or something in it differs; the text says what.
    """
    with _telling(path), EmbeddingReader(path, is_own=True) as reader:
        _compare("var", reader.features, list(rows.features))
        _compare("var", list(reader.var), list(rows.var))
        for name, values in reader.var.items():
            _compare(f"var/{name}", values.tolist(), np.array(rows.var[name], dtype=values.dtype).tolist())
        _compare("n_expected", reader.meta["n_expected"], n_expected)
        for name, value in uns.items():
            _compare(name, json.dumps(reader.meta.get(name)), json.dumps(value))
        _compare("the number of rows", len(reader), rows.n_rows)
        _compare("the number of skipped records", reader.n_skipped, rows.n_skipped)
        _compare_checksums(reader.checksums(), reader.meta["checksums"])


def check_tokens(path: Path, rows: Rows) -> None:
    """The same for a token file.

    Raises:
        OutputError: As in `check_embeddings`.
    """
    with _telling(path), TokensReader(path, is_own=True) as reader:
        _compare("the number of bases", len(reader.x), rows.n_tokens)
        _compare("the number of rows", len(reader.id), rows.n_rows)
        _compare_checksums(reader.content_checksums(), reader.checksums)


def check_joined(path: Path, folder: Path) -> None:
    """Compare the last vector or token and the last id of each part with those read through a file in `folder`.

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
                    found, expected = dataset[end - 1 : end], source[piece.place][-1:]
                    _compare(f"{name} at row {end - 1:,}", found.tolist(), expected.tolist())


def _compare_checksums(found: Mapping[str, str], stored: Mapping[str, str]) -> None:
    for name in found.keys() | stored.keys():
        _compare(name, found.get(name), stored.get(name))


def _compare(what: str, found: Any, expected: Any) -> None:
    if repr(found) != repr(expected):  # NaN is NaN
        raise OutputError(f"{what} differs from what was written")


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except OutputError as problem:
        raise OutputError(f"read back from disk, {problem}") from problem
    except (TableError, OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as problem:
        text = " ".join(str(problem).split())
        raise OutputError(f"read back from disk, {path.name} is damaged: {text}") from problem
