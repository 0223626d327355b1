"""Records from inputs of any kinds, in order, or the error of a record that cannot be used."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np

from findna.errors import ConfigError, InputError, RegionError
from findna.io.bam import read_bam
from findna.io.bed import BedRow
from findna.io.compressed import STDIN, ByteStream
from findna.io.features import TSS
from findna.io.genome import Genome, iter_batches
from findna.io.ids import IdSet
from findna.io.meter import Meter
from findna.io.options import InputOptions
from findna.io.sniff import Kind, check_kind, sniff
from findna.io.source import READS, REGIONS, ROWS, SEQUENCES, Begin, Source, limit_n, refuse_unused_genome
from findna.record import Record
from findna.region import Region, is_region_string, missing_contig
from findna.sequence import Codes, N, looks_like_bases, reverse_complement

_NO_BASES = np.empty(0, np.uint8)


def read_records(
    inputs: Sequence[str],
    options: InputOptions,
    *,
    genome: Genome | None = None,
    wanted: range | None = None,
    begin: Begin | None = None,
    meter: Meter | None = None,
) -> Iterator[Record | InputError]:
    """Yield every record of the inputs in order, or the error of a record that cannot be used.

    Memory does not grow with the inputs, except 8 to 13 bytes per id.

    Args:
        inputs: Paths, "-" for stdin, or region strings.
        options: How to read them.
        genome: An open genome instead of `options.genome`.
        wanted: Only these records, counted from 0 over all inputs; later records are not read.
        begin: A place before the first of them.
        meter: Called for each record that is read.

    Raises:
        InputError: An input is missing, empty, truncated or damaged: what concerns a whole file.
        ConfigError: An input cannot be read with these options.
    """
    meter = meter or Meter(inputs)
    with ExitStack() as stack:
        reader = Reader(options, stack, genome, ids=IdSet(begin.taken if begin else ()))
        n_before = begin.n_before if begin else 0
        for text in inputs[begin.source if begin else 0 :]:
            if wanted is not None and n_before >= wanted.stop:
                return
            with closing(reader.open(text)) as source:
                if reader.has_pipe and text == inputs[-1]:
                    reader.refuse_unused_genome()  # other inputs were checked before
                n_records = 0
                if begin is not None:
                    if source.stream is not None:
                        source.stream.begin = begin.mark
                    n_records, begin = begin.mark.row, None
                part = None if wanted is None else range(wanted.start - n_before, wanted.stop - n_before)
                for record in reader.records(source, wanted=part):
                    meter.count(source.stream)
                    if part is None or n_records in part:
                        yield limit_n(record, source, options.max_n)
                    n_records += 1
                    if part is not None and n_records >= part.stop:
                        return
                if not n_records:
                    raise source.nothing()
                n_before += n_records
                meter.finish(text)


def read_regions(regions: Iterable[Region], options: InputOptions, *, genome: Genome) -> Iterator[Record | InputError]:
    """Yield the record of each region in order, as `read_records` does for those of a file; `source` is "".

    Args:
        regions: Regions, 0-based and half-open.
        options: How to read them.
        genome: An open genome.
    """
    with ExitStack() as stack:
        source = Source("", "region", None, regions)
        for record in Reader(options, stack, genome).records(source):
            yield limit_n(record, source, options.max_n)


class Reader:
    """Opens inputs, and the genome when it is first needed; `has_pipe`: an input can be read only once."""

    def __init__(
        self, options: InputOptions, stack: ExitStack, genome: Genome | None, *, ids: IdSet | None = None
    ) -> None:
        self._options, self._stack, self._genome = options, stack, genome
        self._ids = ids or IdSet()
        self._is_stdin_used = False
        self._first: Source | None = None
        self._kinds: set[Kind] = set()
        self.has_pipe = False

    def open(self, text: str) -> Source:
        options = self._options
        if text == STDIN and options.in_format == "region":
            raise ConfigError("in_format=region takes regions as arguments; stdin (-) may be a BED file")
        if options.in_format == "region" or self._is_region(text):
            return self._checked(Source(text, "region", None))
        if text == STDIN and self._is_stdin_used:
            raise ConfigError("stdin can be read only once")
        self._is_stdin_used |= text == STDIN
        if _is_sequence(text):
            short = text if len(text) <= 40 else f"{text[:37]}..."
            raise ConfigError(
                f"{short} is a sequence, not a file: write it to a FASTA file, or pass FASTA on stdin (-)"
            )
        stream = ByteStream(text)
        try:
            kind = self._kind(stream)
            if kind in READS and stream.head[:4] != b"BAM\1" and stream.raw_head[:4] != b"CRAM":
                stream.fail("this is neither BAM nor CRAM")
            return self._checked(Source(text, kind, stream))
        except BaseException:
            stream.__exit__(None, None, None)
            raise

    def refuse_unused_genome(self) -> None:
        """Raise a ConfigError if there is a genome, and none of the inputs so far needs it."""
        if not self._options.reference_bases:
            refuse_unused_genome(self._options.genome, self._kinds)

    def _kind(self, stream: ByteStream) -> Kind:
        if self._options.in_format is not None:
            return check_kind(self._options.in_format)
        try:
            return sniff(stream)
        except InputError:
            if not self._options.sequence_column:
                raise
        return "table"  # its column of sequences has a name that only the user knows

    def records(self, source: Source, *, wanted: range | None = None) -> Iterator[Record | InputError]:
        """All records of an input, or their errors; regions that are not `wanted` have an id, but no bases."""
        options, stream = self._options, source.stream
        strand = "bed" if options.strand == "both" else options.strand
        if source.kind in REGIONS or stream is None:
            yield from self._fetched(source, wanted)
        elif source.kind in READS:
            needs_genome = options.reference_bases or (source.kind == "cram" and self._has_genome)
            yield from read_bam(
                stream,
                genome=self._need_genome("the bases under reads") if needs_genome else None,
                region=options.region,
                min_mapq=options.min_mapq,
                exclude_flags=options.exclude_flags,
                reference_bases=options.reference_bases,
                strand=strand,
                ids=self._ids,
            )
        else:
            records = SEQUENCES[source.kind](stream, options, self._ids)
            yield from map(_reversed, records) if strand == "-" else records

    def rows(self, source: Source) -> Iterator[BedRow]:
        """The regions to fetch, or the error of a region that does not fit the genome."""
        genome, options = self._need_genome("regions"), self._options
        for row in self._raw_rows(source, genome):
            region, reason = row.region, None
            if isinstance(region, Region):
                given = region
                if options.size is not None and options.center == "summit" and region.summit < 0:
                    reason = "no summit to center on (center=summit takes column 10 of narrowPeak)"
                elif options.size is not None:
                    center = region.summit if options.center == "summit" else None
                    region = region.resize(options.size, center=center)
                if options.strand in ("+", "-"):
                    region = region._replace(strand=options.strand)
                if reason is None and (reason := genome.check(self._inside(region, genome))):
                    is_known = region.chrom in genome.contigs and not reason.endswith("?")  # else: another assembly
                    reason += self._remark(given, region, genome) if is_known else ""
                if reason:
                    row = row._replace(region=source.fault(row, region, reason, genome))
                else:
                    row = row._replace(region=region)
            yield row

    def _remark(self, given: Region, region: Region, genome: Genome) -> str:
        """What else to say of a region past an end of its contig: where its numbers are from, why it is not padded."""
        length, told = genome.contigs[region.chrom], ""
        if given.start >= 0 and given.end <= length:
            told = f"; the region is {given.start:,}-{given.end:,} before size={self._options.size}"
        if self._options.pad and _is_outside(region, length):
            told += "; no base of it is in the contig, so pad=True does not help"
        return told

    def _inside(self, region: Region, genome: Genome) -> Region:
        """The part of a region to fetch: without padding; two blocks if it crosses the end of a circular contig."""
        length = genome.contigs.get(region.chrom, 0)
        is_inside = region.start >= 0 and region.end <= length
        if is_inside or _is_outside(region, length) or region.blocks:
            return region
        if region.chrom in self._options.circular and region.end - region.start <= length:
            start, end = region.start % length, region.end % length
            return region._replace(start=0, end=length, blocks=((start, length), (0, end)))
        if self._options.pad:
            return region._replace(start=max(0, region.start), end=min(length, region.end))
        return region

    @property
    def _has_genome(self) -> bool:
        return self._genome is not None or self._options.genome is not None

    def _need_genome(self, what: str) -> Genome:
        if self._genome is None:
            if self._options.genome is None:
                raise ConfigError(f"{what} need a genome: genome=FILE")
            self._genome = self._stack.enter_context(Genome(self._options.genome))
        name, contigs = self._genome.path.name, self._genome.contigs
        if absent := [chrom for chrom in self._options.circular if chrom not in contigs]:
            raise ConfigError(f"circular={absent[0]}: {missing_contig(absent[0], contigs, where=name)}")
        return self._genome

    def _is_region(self, text: str) -> bool:
        if text == STDIN or self._options.in_format is not None or Path(text).exists():
            return False
        if is_region_string(text):
            return True
        return self._has_genome and text in self._need_genome("regions").contigs

    def _checked(self, source: Source) -> Source:
        options = self._options
        self._first = self._first or source
        self._kinds.add(source.kind)
        self.has_pipe |= source.stream is not None and not source.stream.is_rereadable
        if (self._first.kind in READS) != (source.kind in READS):
            reads, other = (source, self._first) if source.kind in READS else (self._first, source)
            raise ConfigError(
                f"reads ({reads.text}) and other inputs ({other.text}) have different columns: "
                "embed them in separate runs"
            )
        if source.kind not in REGIONS and (options.size is not None or options.split):
            flag = "split=True" if options.split else f"size={options.size}"
            raise ConfigError(f"{flag} is for regions, but {source.text} is {source.kind.upper()}")
        for name in ("sequence_column", "id_column"):
            if (value := getattr(options, name)) and source.kind != "table":
                raise ConfigError(f"{name}={value} is for tables, but {source.text} is {source.kind.upper()}")
        if options.feature and source.kind not in ("gtf", "gff"):
            raise ConfigError(
                f"feature={options.feature} is for GTF and GFF, but {source.text} is {source.kind.upper()}"
            )
        if options.size is None and (source.kind == "vcf" or options.feature == TSS):
            what = "each variant of a VCF" if source.kind == "vcf" else "a transcription start site"
            raise ConfigError(
                f"{source.text}: {what} needs a size, the number of bases around it, for instance size=1000"
            )
        given = {
            f"region={options.region}": options.region is not None,
            f"min_mapq={options.min_mapq}": options.min_mapq,
            "reference_bases=True": options.reference_bases,
        }
        if source.kind not in READS and any(given.values()):
            first = next(name for name, is_given in given.items() if is_given)
            raise ConfigError(f"{first} is for BAM and CRAM, but {source.text} is {source.kind.upper()}")
        return source

    def _raw_rows(self, source: Source, genome: Genome) -> Iterator[BedRow]:
        if source.stream is not None:
            return ROWS[source.kind](source.stream, self._options)
        if source.regions is not None:
            return (BedRow(row, 0, region) for row, region in enumerate(source.regions))
        region: Region | InputError
        try:
            region = genome.parse(source.text)
        except RegionError as problem:
            problem.row = 0
            region = problem
        return iter([BedRow(0, 0, region)])

    def _fetched(self, source: Source, wanted: range | None) -> Iterator[Record | InputError]:
        genome, options = self._need_genome("regions"), self._options

        def is_wanted(row: BedRow) -> bool:
            return wanted is None or row.row in wanted

        for batch in iter_batches(self.rows(source), n_bases=lambda row: count_bases(row.region) * is_wanted(row)):
            regions = [row.region for row in batch if isinstance(row.region, Region) and is_wanted(row)]
            fetched = iter(genome.fetch_many([self._inside(region, genome) for region in regions]))
            for row in batch:
                if isinstance(row.region, InputError):
                    yield row.region
                    continue
                region = row.region
                codes, n_iupac = next(fetched) if is_wanted(row) else (_NO_BASES, 0)
                if is_wanted(row) and options.pad:
                    codes = _padded(codes, region, genome.contigs[region.chrom])
                yield Record(
                    self._ids.unique(region.id),
                    codes,
                    n_iupac,
                    row.row,
                    source.text,
                    name=region.name,
                    chrom=region.chrom,
                    start=region.start,
                    end=region.end,
                    strand=region.strand,
                )


def count_bases(region: Region | InputError) -> int:
    """Number of bases to fetch for a region; 0 for an error."""
    if not isinstance(region, Region):
        return 0
    return sum(end - start for start, end in region.blocks) or region.end - region.start


def _is_outside(region: Region, length: int) -> bool:
    """Whether no base of a region is in its contig."""
    return region.end <= 0 or region.start >= length


def _padded(codes: Codes, region: Region, length: int) -> Codes:
    """The bases of a region with N for each base before the first or after the last of its contig."""
    before, after = max(0, -region.start), max(0, region.end - length)
    if len(codes) == region.end - region.start or not (before or after):  # circular, or inside
        return codes
    return np.pad(codes, (after, before) if region.strand == "-" else (before, after), constant_values=N)


def _is_sequence(text: str) -> bool:
    return looks_like_bases(text) and not Path(text).exists()


def _reversed(record: Record | InputError) -> Record | InputError:
    if isinstance(record, InputError):
        return record
    return record._replace(codes=reverse_complement(record.codes), strand="-")
