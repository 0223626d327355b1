"""Effects of mutagenesis on their way out: HDF5 or TSV, whole or not at all."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from findna.errors import OutputError
from findna.io.files import replacing
from findna.record import Record
from findna.sequence import ALPHABET, N, decode

SCHEMA = "findna-mutagenesis/1"

_BASES = ALPHABET[:N]


class Effects(NamedTuple):
    """What came of one record.

    Args:
        record: The record.
        values: The effect of A, C, G and T at each position, shape (L, 4); NaN where the reference is N.
        pairs: How much position i changes position j, shape (L, L), or None.
    """

    record: Record
    values: NDArray[np.float32]
    pairs: NDArray[np.float32] | None = None


class EffectsWriter:
    """Writes effects record by record; a context manager. The file gets its name when the block ends without an error.

    HDF5: `effects` (N, L, 4) and, with pairs, `pairs` (N, L, L), NaN beyond a record's end; `sequence`, `id`, `chrom`,
    `start`, `end`, `strand`; what the run was in the attributes. TSV: one row for each position and other base.

    Args:
        path: The output.
        kind: "h5" or "tsv".
        facts: What the output says of the run; JSON values.
        force: Replace an existing output.

    Raises:
        OutputError: The output exists or cannot be written.
    """

    def __init__(self, path: Path, kind: str, facts: Mapping[str, Any], *, force: bool = False) -> None:
        if path.exists() and not path.is_file():
            raise OutputError(f"{path}: is not a regular file")
        if path.exists() and not force:
            raise OutputError(f"{path}: exists already; --force replaces it")
        self._path, self._is_hdf5, self._facts = path, kind == "h5", facts
        self._records: list[Record] = []

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        temp = self._stack.enter_context(replacing(self._path))
        if self._is_hdf5:
            self._file = self._stack.enter_context(h5py.File(temp, "w"))
        else:
            self._text = self._stack.enter_context(temp.open("w", encoding="utf-8"))
            self._text.write(f"## {json.dumps(self._facts)}\nid\tchrom\tpos\tposition\tref\talt\teffect\n")
        return self

    def __exit__(self, *error: Any) -> None:
        if self._is_hdf5 and error[0] is None:
            self._finish()
        self._stack.__exit__(*error)

    def write(self, effects: Effects) -> None:
        """Write what came of a record."""
        if not self._is_hdf5:
            self._text.writelines(_lines(effects))
            return
        self._append("effects", effects.values)
        if effects.pairs is not None:
            self._append("pairs", effects.pairs)
        self._records.append(effects.record)

    def _append(self, name: str, values: NDArray[np.float32]) -> None:
        row, shape = len(self._records), values.shape
        if name not in self._file:
            limits = (None, None, None if name == "pairs" else len(_BASES))
            self._file.create_dataset(
                name, (0, *shape), np.float32, maxshape=limits, fillvalue=np.nan, chunks=(1, *shape), compression="gzip"
            )
        dataset = self._file[name]
        dataset.resize((row + 1, *np.maximum(dataset.shape[1:], shape)))
        dataset[(row, *map(slice, shape))] = values

    def _finish(self) -> None:
        text = h5py.string_dtype()
        for name in ("id", "chrom", "strand"):
            self._file.create_dataset(name, data=[getattr(r, name) for r in self._records], dtype=text)
        for name in ("start", "end"):
            self._file.create_dataset(name, data=np.array([getattr(r, name) for r in self._records], np.int64))
        self._file.create_dataset("sequence", data=[decode(r.codes) for r in self._records], dtype=text)
        attributes = {"findna_schema": SCHEMA, "bases": _BASES, "complete": True}
        self._file.attrs.update(attributes | {name: json.dumps(value) for name, value in self._facts.items()})


def _lines(effects: Effects) -> list[str]:
    record = effects.record
    letters = decode(record.codes)
    lines = []
    for position, row in enumerate(effects.values.tolist()):
        place = record.end - position if record.strand == "-" else record.start + position + 1
        head = f"{record.id}\t{record.chrom}\t{place if record.chrom else ''}\t{position + 1}\t{letters[position]}"
        for base, value in zip(_BASES, row, strict=True):
            if base != letters[position] and letters[position] in _BASES:
                lines.append(f"{head}\t{base}\t{value:.6g}\n")
    return lines
