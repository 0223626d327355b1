"""Predictions of bases on their way out: HDF5, bedGraph or bigWig, whole or not at all."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pysam
from numpy.typing import NDArray

from findna.errors import InputError, MissingExtraError
from findna.io.arrays import skipped_lines, write_facts, write_records
from findna.io.files import replacing
from findna.io.h5ad import created
from findna.record import Record
from findna.sequence import N

SCHEMA = "findna-bases/1"

VALUES = ("entropy", "log_p")
"""What a track shows."""


class BaseRow(NamedTuple):
    """What is predicted of the bases of one record.

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
        """Log-probability of the base that is there, nats, NaN where that is N; shape (L,)."""
        codes = self.record.codes
        found = self.probabilities[np.arange(len(codes)), np.minimum(codes, N - 1)]
        return np.where(codes < N, np.log(np.maximum(found, np.finfo(np.float32).tiny)), np.nan).astype(np.float32)


def write_hdf5(
    path: Path, rows: Iterator[BaseRow], facts: Mapping[str, Any], *, skipped: Sequence[InputError] = ()
) -> None:
    """Write all bases end to end: `probabilities` (M, 4), `entropy` and `log_p` (M,), and `offsets` (N + 1,).

    Record i has the bases from offsets[i] to offsets[i + 1]; `id`, `chrom`, `start`, `end`, `strand` and `sequence` say
    what it is. `skipped` may grow as long as rows come.
    """
    records: list[Record] = []
    offsets = [0]
    with replacing(path) as temp, created(temp) as (file, sink):
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
        write_facts(file, SCHEMA, facts)


def write_bedgraph(path: Path, rows: Iterator[BaseRow], value: str, *, skipped: Sequence[InputError] = ()) -> None:
    """Write one line per base, `chrom start end value`; BGZF for a name that ends in .gz.

    Raises:
        InputError: A record has no place on a genome.
    """
    with replacing(path) as temp:
        is_gzip = path.suffix == ".gz"
        with cast(Any, pysam.BGZFile(str(temp), "wb", None) if is_gzip else temp.open("wb")) as file:
            for row in rows:
                lines = (
                    f"{chrom}\t{start}\t{end}\t{number:.6g}\n" for chrom, start, end, number in _places(row, value)
                )
                file.write("".join(lines).encode())
            file.write(skipped_lines(skipped).encode())


def write_bigwig(path: Path, rows: Iterator[BaseRow], value: str, contigs: Mapping[str, int]) -> None:
    """Write one value per base.

    Args:
        path: The file.
        rows: In the order of the contigs and without overlaps.
        value: Of `VALUES`.
        contigs: Name and length of every contig.

    Raises:
        InputError: A record has no place on a genome, or the records are not sorted.
        MissingExtraError: pybigtools is not installed.
    """
    bigtools = require_pybigtools()
    faults: list[BaseException] = []

    def places() -> Iterator[tuple[str, int, int, float]]:
        """All of them; pybigtools prints what an iterator raises and writes a short file, so it is raised later."""
        try:
            for row in _sorted(rows, contigs):
                yield from _places(row, value)
        except BaseException as error:
            faults.append(error)

    with replacing(path) as temp:
        name = temp.with_suffix(".bw")
        try:
            file = bigtools.open(str(name), "w")
            file.write(dict(contigs), places())
            file.close()
            if faults:
                raise faults[0]
            name.replace(temp)
        finally:
            name.unlink(missing_ok=True)


def require_pybigtools() -> Any:
    """The pybigtools package.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import pybigtools
    except ImportError as error:
        raise MissingExtraError("pybigtools", extra="bigwig", purpose="bigWig") from error
    return pybigtools


def _places(row: BaseRow, value: str) -> Iterator[tuple[str, int, int, float]]:
    """Contig, start, end and value of each base, along the genome; an N has no log-probability."""
    record = row.record
    numbers = getattr(row, value)
    if not record.chrom or record.end - record.start != len(numbers):
        raise InputError("has no place on a genome, so it cannot be part of a track: choose HDF5", record=record.id)
    if record.strand == "-":
        numbers = numbers[::-1]
    for offset, number in enumerate(numbers.tolist()):
        if number == number:
            yield record.chrom, record.start + offset, record.start + offset + 1, number


def _sorted(rows: Iterator[BaseRow], contigs: Mapping[str, int]) -> Iterator[BaseRow]:
    order = {name: index for index, name in enumerate(contigs)}
    last = (-1, 0)
    for row in rows:
        record = row.record
        if (order.get(record.chrom, -1), record.start) < last:
            raise InputError(
                "overlaps the record before it or is not sorted; a bigWig needs sorted regions without overlaps "
                "(bedtools sort and merge)",
                record=record.id,
            )
        last = (order.get(record.chrom, -1), record.end)
        yield row
