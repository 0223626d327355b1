"""Alignments as records, with the bases of the read or of the genome."""

from collections.abc import Iterable, Iterator
from typing import Any

from findna.errors import BamError, InputError
from findna.io.compressed import ByteStream, Mark
from findna.io.genome import Genome, iter_batches
from findna.io.ids import IdSet
from findna.record import Record
from findna.region import Region
from findna.sequence import encode, reverse_complement

PAIRED, UNMAPPED, REVERSE, FIRST, LAST = 0x1, 0x4, 0x10, 0x40, 0x80


def _id(read: Any, used: IdSet) -> str:
    mate = {FIRST: "/1", LAST: "/2"}.get(read.flag & (FIRST | LAST), "") if read.flag & PAIRED else ""
    return used.unique(f"{read.query_name}{mate}")


def _record(stream: ByteStream, row: int, read: Any, place: Region | None, bases: Any, *, id: str) -> Record:
    codes, n_iupac = bases
    return Record(
        id,
        codes,
        n_iupac,
        row,
        stream.source,
        name=read.query_name,
        chrom=place.chrom if place else "",
        start=place.start if place else -1,
        end=place.end if place else -1,
        strand=place.strand if place else ".",
        extra={"flag": read.flag, "mapq": read.mapping_quality},
    )


def bases_of_read(
    stream: ByteStream, row: int, read: Any, place: Region | None, *, strand: str, used: IdSet
) -> Record | BamError:
    id = _id(read, used)
    if not read.query_sequence:
        reason = "has no bases ('*')"
        return BamError(reason, path=stream.name, record=id, row=row)
    try:
        codes, n_iupac = encode(read.query_sequence)
    except ValueError as problem:
        return BamError(str(problem), path=stream.name, record=id, row=row)
    # A BAM stores the bases of an aligned read on the genome's forward strand.
    is_stored_reversed = bool(read.flag & REVERSE)
    is_reversed = is_stored_reversed if strand == "bed" else strand == "-"
    if strand != "bed" and place is not None:
        place = place._replace(strand=strand)
    bases = (reverse_complement(codes) if is_reversed else codes, n_iupac)
    return _record(stream, row, read, place, bases, id=id)


def bases_of_genome(
    stream: ByteStream,
    placed: Iterable[tuple[int, Mark | None, Any, Region | None]],
    genome: Genome,
    *,
    strand: str,
    used: IdSet,
) -> Iterator[Record | BamError]:
    def checked() -> Iterator[tuple[int, Mark | None, Any, Region | BamError]]:
        for row, mark, read, place in placed:
            if place is None:
                reason = "is not aligned, so there are no bases under it (exclude_flags=0x904 skips such reads)"
            elif reason := genome.check(place) or "":
                pass
            else:
                yield row, mark, read, place if strand == "bed" else place._replace(strand=strand)
                continue
            yield row, mark, read, BamError(reason, path=stream.name, record=read.query_name, row=row)

    for batch in iter_batches(checked(), n_bases=lambda item: _span(item[3])):
        regions = [place for *_, place in batch if isinstance(place, Region)]
        fetched = iter(genome.fetch_many(regions))
        for row, mark, read, place in batch:
            stream.mark, id = mark, _id(read, used)
            if isinstance(place, Region):
                yield _record(stream, row, read, place, next(fetched), id=id)
            else:
                yield BamError(place.reason, path=stream.name, record=id, row=row)


def _span(place: Region | InputError) -> int:
    if not isinstance(place, Region):
        return 0
    return sum(end - start for start, end in place.blocks) or place.end - place.start
