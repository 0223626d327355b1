"""An input, its kind and its reader."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from findna.errors import BedError, ConfigError, InputError, RegionError
from findna.io.bed import BedRow, read_bed
from findna.io.compressed import ByteStream, Mark
from findna.io.fasta import read_fasta, read_fastq
from findna.io.features import read_bigbed, read_features, read_variant_places
from findna.io.genome import Genome
from findna.io.ids import IdSet
from findna.io.options import InputOptions
from findna.io.remedies import renamed
from findna.io.sequence_table import read_sequence_table
from findna.io.sniff import Kind, sniff
from findna.record import Record
from findna.region import Region
from findna.sequence import N

ROWS: Mapping[Kind, Callable[[ByteStream, InputOptions], Iterator[BedRow]]] = {
    "bed": lambda stream, options: read_bed(stream, with_blocks=options.split),
    "narrowpeak": lambda stream, options: read_bed(stream, is_narrowpeak=True, with_blocks=options.split),
    "gtf": lambda stream, options: read_features(stream, options.feature or "gene"),
    "gff": lambda stream, options: read_features(stream, options.feature or "gene"),
    "vcf": lambda stream, options: read_variant_places(stream),
    "bigbed": lambda stream, options: read_bigbed(stream),
}
"""Readers of regions by kind of input."""

SEQUENCES: Mapping[Kind, Callable[[ByteStream, InputOptions, IdSet], Iterator[Record | InputError]]] = {
    "fasta": lambda stream, options, ids: read_fasta(stream, ids=ids),
    "fastq": lambda stream, options, ids: read_fastq(stream, ids=ids),
    "table": lambda stream, options, ids: read_sequence_table(
        stream, options.sequence_column, options.id_column, ids=ids
    ),
}
"""Readers of sequences by kind of input."""

REGIONS: tuple[Kind, ...] = (*ROWS, "region")

READS: tuple[Kind, ...] = ("bam", "cram")


class TooManyN(InputError):
    """A record has more N than `max_n` allows. It is always skipped and never ends a run.

    Attributes:
        columns: Names of the record's further columns; see `Record.extra`.
    """

    is_fatal = False
    columns: tuple[str, ...] = ()


class MissingContig(BedError):
    """A row of a BED file names a contig that is not in the genome."""

    contig = ""


class Begin(NamedTuple):
    """A place at which reading can begin.

    Args:
        source: Index of the input.
        n_before: Number of records of earlier inputs.
        mark: The place in it.
        taken: Ids of earlier records that also occur later.
    """

    source: int
    n_before: int
    mark: Mark
    taken: tuple[str, ...]


class Source(NamedTuple):
    """An input as the user wrote it, its kind, and its bytes, except for region strings and regions in memory."""

    text: str
    kind: Kind
    stream: ByteStream | None
    regions: Iterable[Region] | None = None

    def fault(self, row: BedRow, region: Region, reason: str, genome: Genome) -> InputError:
        if self.stream is None:
            return RegionError(reason, path=self.text or str(region), row=row.row)
        error = self.stream.error if region.chrom in genome.contigs else MissingContig
        if error is MissingContig and (remedy := renamed(region.chrom, genome.contigs, self._text_file)):
            reason += f"; {remedy}"
        problem = error(reason, path=self.stream.name, line=row.line, row=row.row, kind=self.stream.error.kind)
        # The message has the line; the id is for the list of skipped records.
        problem.record = region.id
        if isinstance(problem, MissingContig):
            problem.contig = region.chrom
        return problem

    @property
    def _text_file(self) -> str:
        """The name, if the input is text with the contig in the first column."""
        return self.text if self.kind in ("bed", "narrowpeak", "gtf", "gff", "vcf") else ""

    def nothing(self) -> InputError:
        error = InputError if self.stream is None else self.stream.error
        what = "reads, or none that pass the filters" if self.kind in READS else "records"
        return error(f"it holds no {what}", path=self.text)

    def close(self) -> None:
        if self.stream is not None:
            self.stream.__exit__(None, None, None)


def refuse_unused_genome(genome: str | Path | None, kinds: Iterable[str | None]) -> None:
    """Raise a ConfigError if there is a genome, and none of the kinds of the inputs needs one."""
    if genome and not {*kinds} & {*REGIONS, "cram"}:
        raise ConfigError(f"the genome {genome} is not used: no input has regions; leave the genome out")


def kind_of(path: str | Path) -> Kind | None:
    """The kind of a file, None if it is not recognised; for tables, whose columns may have any names."""
    with suppress(InputError), ByteStream(path) as stream:
        return sniff(stream)
    return None


def limit_n(record: Record | InputError, source: Source, max_n: float) -> Record | InputError:
    """The record, or `TooManyN` if more of it than `max_n` is N."""
    if isinstance(record, InputError) or max_n >= 1:
        return record
    fraction = float((record.codes == N).mean())
    if fraction <= max_n:
        return record
    reason = f"{fraction:.1%} of the bases are N, more than {max_n:.1%}"
    fault = TooManyN(reason, path=source.text, record=record.id, row=record.row)
    fault.columns = tuple(record.extra)
    return fault
