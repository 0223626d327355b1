"""Reads of a BAM or CRAM file as records: with their own bases as sequenced, or those of the genome."""

import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import pysam

from findna.errors import BamError
from findna.io.alignments import REVERSE, UNMAPPED, bases_of_genome, bases_of_read
from findna.io.bam_index import NO_INDEX, is_index_of
from findna.io.compressed import BGZF_EOF, ByteStream, Mark, end_of
from findna.io.genome import Genome
from findna.io.ids import IdSet
from findna.io.options import SECONDARY_OR_SUPPLEMENTARY
from findna.record import Record
from findna.region import Region, parse_region

_COVERING = (0, 7, 8)  # CIGAR M, = and X
_DELETED, _SKIPPED = 2, 3  # CIGAR D and N
_CRAM_EOF = (  # of version 3, of version 2
    bytes.fromhex("0f000000ffffffff0fe0454f4600000000010005bdd94f0001000606010001000100ee63014b"),
    bytes.fromhex("0b000000ffffffff0fe0454f460000000001000001000606010001000100"),
)


def read_bam(
    source: str | Path | ByteStream,
    *,
    genome: Genome | None = None,
    region: str | None = None,
    min_mapq: int = 0,
    exclude_flags: int = SECONDARY_OR_SUPPLEMENTARY,
    reference_bases: bool = False,
    strand: str = "bed",
    ids: IdSet | None = None,
) -> Iterator[Record | BamError]:
    """Yield the reads of a BAM or CRAM file in file order, or the error of a read that cannot be used.

    The bases are those of the record, soft-clipped bases included, as sequenced: reverse-strand records are reverse
    complemented. With `reference_bases` they are those of the genome from the first to the last aligned base, on the
    read's strand: with deleted bases, and without inserted and clipped bases and introns (CIGAR N).

    chrom, start, end and strand are those of the alignment; an unaligned read has none.
    `extra` has `flag` and `mapq`.

    Args:
        source: Path, "-" for stdin, or an open stream.
        genome: For CRAM and for `reference_bases`.
        region: A region string; only reads whose alignment overlaps it. Uses an index if it matches the
            file; otherwise reads the whole file.
        min_mapq: Minimum MAPQ.
        exclude_flags: A read with any of these SAM flags is skipped.
        reference_bases: See above.
        strand: "bed" as sequenced; "+" or "-": on that strand of the genome.
        ids: The ids so far; a duplicate gets `_2`, `_3`.

    Raises:
        BamError: The file is truncated or damaged, a CRAM lacks its reference, or the genome is another one.
        RegionError: `region` is not a region of this file.
    """
    stream = source if isinstance(source, ByteStream) else ByteStream(source, error=BamError)
    stream.error = BamError
    used = IdSet() if ids is None else ids
    if reference_bases and genome is None:
        stream.fail("the bases under an alignment need a genome (genome=FILE)")
    with stream, _alignments(stream, genome, is_region=region is not None) as file:
        _check_genome(stream, file, genome)
        if stream.begin.row:
            file.seek(stream.begin.offset)
        reads = _selected(stream, file, region, min_mapq=min_mapq, exclude_flags=exclude_flags)
        placed = _placed(stream, reads)
        if reference_bases and genome is not None:
            yield from bases_of_genome(stream, placed, genome, strand=strand, used=used)
            return
        for row, mark, read, place in placed:
            stream.mark = mark
            yield bases_of_read(stream, row, read, place, strand=strand, used=used)


@contextmanager
def _alignments(stream: ByteStream, genome: Genome | None, *, is_region: bool) -> Iterator[Any]:
    is_cram = stream.raw_head[:4] == b"CRAM"
    reference = str(genome.htslib_fasta()) if is_cram and genome is not None else None
    verbosity = pysam.set_verbosity(0)
    try:
        if stream.is_rereadable:
            _check_end(stream, end_of(stream.source), is_cram=is_cram)
            is_indexed = is_region and _has_own_index(Path(stream.source), is_cram=is_cram)
            # htslib opens any index that it finds, and a malicious one crashes the process.
            with _opened(stream, f"{stream.source}{'' if is_indexed else NO_INDEX}", reference) as file:
                yield file
        else:
            with stream.as_pipe() as pipe, _opened(stream, pipe, reference) as file:
                yield file
            _check_end(stream, stream.tail, is_cram=is_cram)
    finally:
        pysam.set_verbosity(verbosity)


@contextmanager
def _opened(stream: ByteStream, source: Any, reference: str | None) -> Iterator[Any]:
    with _no_download():
        try:
            file = pysam.AlignmentFile(source, "r", check_sq=False, reference_filename=reference)
        except (OSError, ValueError) as problem:
            _fail(stream, problem)
        try:
            yield file
        except BaseException:
            with suppress(OSError):
                file.close()
            raise
        try:
            file.close()
        except OSError as problem:
            _fail(stream, problem)


@contextmanager
def _no_download() -> Iterator[None]:
    """Older versions of htslib ask a server for a CRAM reference unless REF_PATH is set."""
    if "REF_PATH" in os.environ:
        yield
        return
    os.environ["REF_PATH"] = os.devnull
    try:
        yield
    finally:
        os.environ.pop("REF_PATH", None)


def _check_end(stream: ByteStream, tail: bytes, *, is_cram: bool) -> None:
    if is_cram and not tail.endswith(_CRAM_EOF):
        stream.fail("truncated, or followed by other bytes: CRAM EOF container missing")
    if not is_cram and not tail.endswith(BGZF_EOF):
        stream.fail(
            "truncated: BGZF EOF marker missing; copy or make the file again, and check it: "
            f"`samtools quickcheck -v {shlex.quote(str(stream.name))}`"
        )


def _fail(stream: ByteStream, problem: Exception) -> NoReturn:
    reason = f"truncated or damaged ({problem})"
    if stream.raw_head[:4] == b"CRAM":
        reason = f"damaged, or a CRAM whose reference is needed: genome=FILE ({problem})"
    stream.fail(reason, cause=problem)


def _check_genome(stream: ByteStream, file: Any, genome: Genome | None) -> None:
    if genome is None:
        return
    for name, length in zip(file.references, file.lengths, strict=True):
        there = genome.contigs.get(name, length)
        if there != length:
            stream.fail(f"aligned to another genome: {name} has {length:,} bases here, {there:,} in {genome.path.name}")


def _selected(
    stream: ByteStream, file: Any, region: str | None, *, min_mapq: int, exclude_flags: int
) -> Iterator[tuple[int | None, Any]]:
    """The reads that pass the filters, each with its virtual offset, if it has one."""
    wanted = None
    if region is not None:
        contigs = dict(zip(file.references, file.lengths, strict=True))
        wanted = parse_region(region, contigs, where=stream.name)
    reads = _fetched(file, wanted)
    has_offsets = file.is_bam and stream.is_rereadable and region is None
    while True:
        try:
            offset = file.tell() if has_offsets else None
            read = next(reads)
        except StopIteration:
            return
        except (OSError, ValueError) as problem:
            _fail(stream, problem)
        if read.flag & exclude_flags or read.mapping_quality < min_mapq:
            continue
        if wanted is None or _overlaps(read, wanted):
            yield offset, read


def _fetched(file: Any, wanted: Region | None) -> Iterator[Any]:
    if wanted is not None and file.has_index():
        return iter(file.fetch(wanted.chrom, wanted.start, wanted.end))
    return iter(file.fetch(until_eof=True))


def _has_own_index(path: Path, *, is_cram: bool) -> bool:
    """Whether there are indexes and all match this file."""
    suffixes = (".crai",) if is_cram else (".csi", ".bai")
    names = [path.with_name(path.name + suffix) for suffix in suffixes] + [path.with_suffix(s) for s in suffixes]
    indexes = [name for name in names if name.exists()]
    return bool(indexes) and all(is_index_of(index, path) for index in indexes)


def _overlaps(read: Any, wanted: Region) -> bool:
    if read.is_unmapped or read.reference_name != wanted.chrom:
        return False
    end = read.reference_end or read.reference_start + 1
    return bool(read.reference_start < wanted.end and end > wanted.start)


def _placed(
    stream: ByteStream, reads: Iterable[tuple[int | None, Any]]
) -> Iterator[tuple[int, Mark | None, Any, Region | None]]:
    """Number and offset of each read in the file, the read, and its alignment."""
    for row, (offset, read) in enumerate(reads, start=stream.begin.row):
        try:
            is_text, place = (read.query_name or " ").isprintable(), _region(read)
        except UnicodeDecodeError:
            is_text, place = False, None
        if not is_text:
            stream.fail(f"damaged: the name of read {row + 1:,} is not text")
        if not read.query_name:
            stream.fail(f"damaged: read {row + 1:,} has no name")
        yield row, None if offset is None else Mark(offset, 0, row), read, place


def _region(read: Any) -> Region | None:
    """The place of an alignment, with the blocks between introns, if any."""
    if read.flag & UNMAPPED or read.reference_name is None:
        return None
    start = end = read.reference_start
    blocks = []
    block_start = start
    for operation, length in read.cigartuples or ():
        if operation == _SKIPPED:
            blocks.append((block_start, end))
            block_start = end + length
        if operation in _COVERING or operation in (_DELETED, _SKIPPED):
            end += length
    blocks.append((block_start, end))
    strand = "-" if read.flag & REVERSE else "+"
    joined = tuple((first, last) for first, last in blocks if last > first)
    return Region(
        read.reference_name,
        start,
        max(end, start + 1),
        read.query_name,
        strand,
        blocks=joined if len(blocks) > 1 else (),
    )
