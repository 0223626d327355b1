"""Datasets whose rows are in other files: the parts of a sharded run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from findna.io.foreign import open_foreign


class VirtualSource(NamedTuple):
    """A part that an output points to.

    Args:
        name: Path of its file relative to the folder of the output.
        n_rows: Its number of rows.
        tokens_name: The same for its token file.
        n_tokens: Its number of tokens.
    """

    name: str
    n_rows: int
    tokens_name: str = ""
    n_tokens: int = 0


class VirtualPiece(NamedTuple):
    """Consecutive rows of a virtual dataset: all rows of a dataset of another file.

    Args:
        name: Path of that file relative to the folder of the virtual dataset's file.
        place: Name of its dataset.
        n_rows: Rows.
    """

    name: str
    place: str
    n_rows: int


def join(parent: h5py.Group, name: str, pieces: Sequence[tuple[str, int]], shape: tuple[int, ...], dtype: Any) -> Any:
    """Make a dataset from datasets of the same name in other files; without these, its values are NaN, -1 or "".

    Args:
        parent: Its parent group.
        name: Its name.
        pieces: For each file, its relative path and number of rows.
        shape: Of a row.
        dtype: Of a value.
    """
    layout = h5py.VirtualLayout((sum(n_rows for _, n_rows in pieces), *shape), dtype)
    place, start = f"{parent.name.rstrip('/')}/{name}", 0
    for path, n_rows in pieces:
        if n_rows:
            layout[start : start + n_rows] = h5py.VirtualSource(path, place, (n_rows, *shape), dtype)
        start += n_rows
    missing = {"f": np.nan, "i": -1}.get(np.dtype(dtype).kind)
    return parent.create_virtual_dataset(name, layout, fillvalue=missing)


def pieces_of(dataset: h5py.Dataset) -> list[VirtualPiece]:
    """The parts of a virtual dataset, in order.

    Raises:
        ValueError: It is not made of whole datasets, each once and one after the other.
    """
    pieces: list[VirtualPiece] = []
    end = 0
    for joined, name, place, source in dataset.virtual_sources():
        first, last = joined.get_select_bounds()
        n_rows = int(last[0]) + 1 - end
        whole = ((end, *[0] * (len(first) - 1)), (last[0], *(n - 1 for n in dataset.shape[1:])))
        n_values = int(np.prod((n_rows, *dataset.shape[1:])))
        is_whole = source.get_select_type() == h5py.h5s.SEL_ALL
        if (first, last) != whole or joined.get_select_npoints() != n_values or not is_whole:
            raise ValueError("does not consist of complete datasets in order")
        pieces.append(VirtualPiece(name, place, n_rows))
        end += n_rows
    if len({piece.name for piece in pieces}) < len(pieces):
        raise ValueError("contains the rows of a part twice")
    if end != dataset.shape[0]:
        raise ValueError(f"has {dataset.shape[0]:,} rows, and its parts have {end:,}")
    return pieces


def open_source(folder: Path, name: str) -> h5py.File:
    """Open a file that a virtual dataset points to.

    Raises:
        ValueError: Its name leads out of the folder, or it is not found, or not a finished file of findna.
    """
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts or "%" in name or name in ("", "."):
        raise ValueError(f"its part {name} is not in its folder")
    if not (folder / relative).is_file():
        raise ValueError(f"its part {name} is not found beside it")
    file = open_foreign(folder / relative)
    if not str(file.attrs.get("findna_schema", "")).startswith("findna-") or not file.attrs.get("complete"):
        file.close()
        raise ValueError(f"its part {name} is not a finished output of findna")
    return file
