"""Writes predictions of bases: HDF5, or values along the genome."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from findna.errors import InputError
from findna.io.arrays import write_facts, write_records
from findna.io.files import replacing
from findna.io.hdf5_file import created
from findna.io.tracks import TrackValue
from findna.record import Record
from findna.sequence import N

SCHEMA = "findna-bases/1"

VALUES = ("entropy", "log_p")
"""The values that a track can show."""


class BaseRow(NamedTuple):
    """The predictions for the bases of one record.

    Args:
        record: The record.
        probabilities: Of A, C, G and T, shape (L, 4).
    """

    record: Record
    probabilities: NDArray[np.float32]

    @property
    def entropy(self) -> NDArray[np.float32]:
        """In bits, 0 to 2; shape (L,)."""
        p = np.maximum(self.probabilities, np.finfo(np.float32).tiny)
        found: NDArray[np.float32] = -(p * np.log2(p)).sum(axis=1)
        return found

    @property
    def log_p(self) -> NDArray[np.float32]:
        """Log-probability of the reference base in nats, NaN for N; shape (L,)."""
        codes = self.record.codes
        found = self.probabilities[np.arange(len(codes)), np.minimum(codes, N - 1)]
        return np.where(codes < N, np.log(np.maximum(found, np.finfo(np.float32).tiny)), np.nan).astype(np.float32)


def write_hdf5(
    path: Path,
    rows: Iterator[BaseRow],
    facts: Mapping[str, Any],
    *,
    skipped: Sequence[InputError] = (),
    temp: Path | None = None,
) -> None:
    """Write the bases of all records: `probabilities` (M, 4), `entropy` and `log_p` (M,), and `offsets` (N + 1,).

    Record i has the bases from offsets[i] to offsets[i + 1]; `id`, `chrom`, `start`, `end`, `strand` and `sequence`
    describe it. `skipped` may grow while rows come. `temp` is the path until the file is complete.
    """
    records: list[Record] = []
    offsets = [0]
    with replacing(path, temp) as whole, created(whole) as (file, sink):
        file.create_dataset("probabilities", (0, N), np.float32, maxshape=(None, N), chunks=(4096, N))
        for name in VALUES:
            file.create_dataset(name, (0,), np.float32, maxshape=(None,), chunks=(4096,))
        for row in rows:
            sink.check()
            offsets.append(offsets[-1] + len(row.probabilities))
            for name in ("probabilities", *VALUES):
                file[name].resize(offsets[-1], axis=0)
                file[name][offsets[-2] :] = getattr(row, name)
            records.append(row.record)
        file.create_dataset("offsets", data=np.array(offsets, np.int64))
        write_records(file, records, skipped)
        sink.check()
        write_facts(file, SCHEMA, facts)


def places_of(row: BaseRow, value: str) -> Iterator[TrackValue]:
    """The value of each base along the genome; an N has no log-probability.

    Args:
        row: The row.
        value: One of `VALUES`.

    Raises:
        InputError: The record has no place on a genome.
    """
    record = row.record
    numbers = getattr(row, value)
    if not record.chrom or record.end - record.start != len(numbers):
        raise InputError("has no place on a genome, so it cannot be part of a track: choose HDF5", record=record.id)
    if record.strand == "-":
        numbers = numbers[::-1]
    for offset, number in enumerate(numbers.tolist()):
        if number == number:
            yield TrackValue(record.chrom, record.start + offset, record.start + offset + 1, number)
