"""Rows for the tests of outputs: vectors, class tokens, tokens and columns that follow from the row number."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from findna.cells import Cell
from findna.io.hdf5 import EmbeddingWriter
from findna.io.rows import OBS_COLUMNS, Columns, columns_of

FEATURES = ["f000", "f001", "f002"]
UNS = {"params": {"pool": "mean"}, "model": {"id": "tiny"}}
N_RECORDS = 23
BATCH = 4


def obs(row: int, **changes: object) -> dict[str, Any]:
    """The columns of a row; its length is 1 to 3 bases."""
    length = 1 + row % 3
    return {
        "id": f"chr{row % 2}:{row}-{row + length}(+)",
        "name": f"peak {row}" if row % 4 else "",
        "chrom": f"chr{row % 2}",
        "start": row,
        "end": row + length,
        "strand": "+-."[row % 3],
        "source": "peaks.bed",
        "row": row,
        "length": length,
        "n_windows": 1,
        "frac_n": row / 7,
        "n_iupac": row % 5,
    } | changes


def vectors(rows: list[int], width: int = len(FEATURES)) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Vectors of some rows, shape (n, width)."""
    phases = np.add.outer(7.0 * np.array(rows), np.arange(width))
    return np.sin(phases**2).astype(np.float32).reshape(-1, width)


def batches(n_records: int = N_RECORDS) -> Iterator[tuple[list[int], list[int]]]:
    """Rows to write and rows to skip, a batch at a time; every seventh record is skipped."""
    for start in range(0, n_records, BATCH):
        rows = range(start, min(n_records, start + BATCH))
        yield [row for row in rows if row % 7 != 3], [row for row in rows if row % 7 == 3]


def write_all(path: Path, *, n_records: int = N_RECORDS, full: bool = False, **options: Any) -> list[Path]:
    """Write all records, or what a resumed spool lacks of them; `full` adds class tokens and tokens."""
    if full:
        options |= {"n_cls_shape": (2, 3), "tokens_dim": 2}
    options = {"fingerprint": {"seed": 1}, "features": FEATURES, "every": 0} | options
    with EmbeddingWriter(path, **options) as writer:
        write_batches(writer, n_records, full=full)
        return writer.finish(UNS, n_expected=n_records)


def count_threads() -> Callable[..., Iterator[Cell]]:
    """What a worker makes cells with: the number of its threads, for the first cell only."""

    def cells(*_: object) -> Iterator[Cell]:
        import torch

        yield Cell(np.array([[torch.get_num_threads()]], np.float32), {}, None, [])

    return cells


def table(rows: Iterable[Mapping[str, Any]]) -> Columns:
    """The columns of rows."""
    rows = list(rows)
    return columns_of(rows, rows[0] if rows else OBS_COLUMNS)


def write_batches(writer: EmbeddingWriter, n_records: int = N_RECORDS, *, full: bool = False) -> None:
    """Write the batches that a spool lacks, with a commit after each."""
    n_seen = 0
    for rows, skipped in batches(n_records):
        n_seen += len(rows) + len(skipped)
        if n_seen <= writer.n_records_done:
            continue
        if full:
            for row in rows:
                writer.write_tokens(vectors([row] * obs(row)["length"], 2))
        cls = vectors(rows, 6).reshape(-1, 2, 3) if full else None
        writer.write(vectors(rows), table(map(obs, rows)), cls)
        for row in skipped:
            writer.skip(f"bad {row}", row=row, line=row + 1, source="peaks.bed", reason="no\tregion")
        writer.commit()


def dump(path: Path) -> dict[str, str]:
    """Everything in an HDF5 file by name: datasets, dtypes, attributes."""
    content: dict[str, str] = {}

    def visit(name: str, item: Any) -> None:
        content[f"{name}@"] = repr(sorted((key, str(value)) for key, value in item.attrs.items()))
        if isinstance(item, h5py.Dataset):
            values = np.asarray(item[()])
            text = json.dumps([str(value) for value in values.ravel()])
            content[name] = f"{item.dtype} {item.shape} {text if item.dtype == object else values.tobytes().hex()}"

    with h5py.File(path) as file:
        visit("/", file)
        file.visititems(visit)
    return content
