"""Writes effects of mutagenesis: HDF5 or TSV, completely or not at all."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from findna.errors import InputError
from findna.io.arrays import skipped_lines, write_facts, write_records
from findna.io.files import replacing
from findna.io.hdf5_file import created
from findna.io.summed import SummedText
from findna.record import Record
from findna.sequence import BASES, decode

SCHEMA = "findna-mutagenesis/1"


class Effects(NamedTuple):
    """The effects of one record.

    Args:
        record: The record.
        values: The effect of A, C, G and T at each position, shape (L, 4); NaN if the reference is N.
        pairs: How much position i changes position j, shape (L, L), or None.
    """

    record: Record
    values: NDArray[np.float32]
    pairs: NDArray[np.float32] | None = None


class EffectsWriter:
    """Writes effects record by record; a context manager. The file gets its name when the block ends without an error.

    HDF5: `effects` (N, L, 4) and, with pairs, `pairs` (N, L, L), NaN beyond a record's end; `sequence`, `id`, `chrom`,
    `start`, `end`, `strand`; the run is in the attributes. TSV: one row for each position and alternative base.

    Args:
        path: The output.
        kind: "h5" or "tsv".
        facts: Description of the run; JSON values.
        skipped: The errors of skipped records; it may grow until the block ends.
        temp: Path until it is complete; None: beside the output.

    Raises:
        OutputError: The output cannot be written.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        facts: Mapping[str, Any],
        *,
        skipped: Sequence[InputError] = (),
        temp: Path | None = None,
    ) -> None:
        self._temp = temp
        self._path, self._is_hdf5, self._facts, self._skipped = path, kind == "h5", facts, skipped
        self._records: list[Record] = []

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        temp = self._stack.enter_context(replacing(self._path, self._temp))
        if self._is_hdf5:
            self._file, self._sink = self._stack.enter_context(created(temp))
        else:
            head = f"## {json.dumps(self._facts)}\nid\tchrom\tpos\tposition\tref\talt\teffect\n"
            self._text = SummedText(self._stack.enter_context(temp.open("wb")), head)
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is not None:
            self._stack.__exit__(*error)
            return
        with self._stack:
            self._finish()

    def write(self, effects: Effects) -> None:
        """Write the effects of a record."""
        if not self._is_hdf5:
            self._text.write("".join(_lines(effects)))
            return
        self._sink.check()
        self._append("effects", effects.values)
        if effects.pairs is not None:
            self._append("pairs", effects.pairs)
        self._records.append(effects.record)

    def _append(self, name: str, values: NDArray[np.float32]) -> None:
        row, shape = len(self._records), values.shape
        if name not in self._file:
            limits = (None, None, None if name == "pairs" else len(BASES))
            self._file.create_dataset(
                name, (0, *shape), np.float32, maxshape=limits, fillvalue=np.nan, chunks=(1, *shape), compression="gzip"
            )
        dataset = self._file[name]
        dataset.resize((row + 1, *np.maximum(dataset.shape[1:], shape)))
        dataset[(row, *map(slice, shape))] = values

    def _finish(self) -> None:
        if not self._is_hdf5:
            self._text.write(skipped_lines(self._skipped))
            self._text.settle()
            return
        write_records(self._file, self._records, self._skipped)
        self._sink.check()
        write_facts(self._file, SCHEMA, self._facts)


def _lines(effects: Effects) -> list[str]:
    record = effects.record
    letters = decode(record.codes)
    lines = []
    for position, row in enumerate(effects.values.tolist()):
        place = record.end - position if record.strand == "-" else record.start + position + 1
        head = f"{record.id}\t{record.chrom}\t{place if record.chrom else ''}\t{position + 1}\t{letters[position]}"
        for base, value in zip(BASES, row, strict=True):
            if base != letters[position] and letters[position] in BASES:
                lines.append(f"{head}\t{base}\t{value:.6g}\n")
    return lines
