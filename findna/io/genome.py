"""Genome: the bases of any region of a FASTA or .2bit file, as codes."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Protocol, Self, TypeVar

from findna.errors import GenomeError, InputError, RegionError, system_reason
from findna.io.builds import build_of, builds_with
from findna.io.cache import cache_dir
from findna.io.compressed import ByteStream
from findna.io.files import open_regular
from findna.io.indexed import IndexedFasta
from findna.io.rows import printable
from findna.io.sniff import sniff
from findna.io.tap import GZIP_MAGIC, is_bgzf
from findna.io.twobit import TWOBIT_MAGICS, TwoBit
from findna.region import Region, missing_contig, parse_region
from findna.sequence import Codes, encode, reverse_complement

T = TypeVar("T")
GENOME_ENDINGS = (".2bit", ".fa", ".fasta", ".fna", ".fa.gz", ".fasta.gz", ".fna.gz")
"""File name endings of downloaded genomes, in the cache directory."""

_MOST_REMEMBERED = 1000
_KINDS = {
    **dict.fromkeys(("bed", "narrowpeak", "bigbed"), "regions (BED)"),
    **dict.fromkeys(("gtf", "gff"), "annotation (GTF or GFF)"),
    "vcf": "variants (VCF)",
    **dict.fromkeys(("bam", "cram"), "reads (BAM or CRAM)"),
    "fastq": "reads (FASTQ)",
    "table": "a table",
}


class _Contigs(Protocol):
    contigs: dict[str, int]

    def place(self, chrom: str, start: int) -> int: ...

    def bases(self, chrom: str, start: int, end: int) -> bytes: ...

    def close(self) -> None: ...


class Genome:
    """The indexed sequence of an assembly; a context manager.

    A FASTA (plain or bgzip) is read through its index. If the index is missing or does not match the file,
    it is made beside the genome or, if that folder is read-only, in the cache directory.

    Args:
        path: FASTA (plain or bgzip) or .2bit; or the name of a downloaded genome, such as "hg38".

    Attributes:
        path: The file.
        contigs: Name and length of every contig, in file order.

    Raises:
        GenomeError: The file does not exist, it is not a genome, it is damaged, or it is compressed
            with gzip, which allows no random access.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = find_genome(path)
        self._source = _open(self.path)
        self.contigs = self._source.contigs
        if strange := [name for name in self.contigs if printable(name) != name]:
            self.close()
            raise GenomeError(f"the contig name {strange[0]!r} contains a line-end character", path=self.path)
        self._missing: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        return type(self), (self.path.absolute(),)  # a copy in another process opens the file itself

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    @cached_property
    def digest(self) -> str:
        """sha256 of the sorted contig names and lengths: the same for all files of an assembly."""
        lines = sorted(f"{name}\t{length}\n" for name, length in self.contigs.items())
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def parse(self, text: str) -> Region:
        """The region that a region string names; see `findna.region.parse_region`.

        Raises:
            RegionError: The contig is unknown, or a position is not valid.
        """
        return parse_region(text, self.contigs, where=self.path.name)

    def check(self, region: Region) -> str | None:
        """Why a region cannot be fetched, or None."""
        length = self.contigs.get(region.chrom)
        if length is None:
            return self._why_missing(region.chrom)
        if region.start < 0:
            return f"start {region.start:,} is before the first base of {region.chrom}"
        if region.end > length:
            others = builds_with(region.chrom, region.end, self.contigs)
            other = f". The genome is {build_of(self.contigs)}: are these coordinates of {' or '.join(others)}?"
            hint = other if others else ""
            return f"end {region.end:,} is past the end of {region.chrom} ({length:,} bases){hint}"
        return None

    def fetch(self, region: Region) -> tuple[Codes, int]:
        """The bases of a region as codes, and how many IUPAC codes in them became N.

        On the region's own strand: "-" is reverse complemented. If the region has blocks, they
        are joined.

        Raises:
            RegionError: The region does not fit; see `check`.
            GenomeError: The file is damaged there.
        """
        return self.fetch_many([region])[0]

    def fetch_many(self, regions: Sequence[Region]) -> list[tuple[Codes, int]]:
        """`fetch` for each region, in the given order; the file is read in its own order."""
        for region in regions:
            if reason := self.check(region):
                raise RegionError(reason, path=str(region))
        place = self._source.place
        places = [place(region.chrom, region.start) for region in regions]
        found: dict[int, tuple[Codes, int]] = {}
        for index in sorted(range(len(regions)), key=places.__getitem__):
            found[index] = self._fetch(regions[index])
        return [found[index] for index in range(len(regions))]

    def _fetch(self, region: Region) -> tuple[Codes, int]:
        bases = self._source.bases
        if region.blocks:
            raw = b"".join(bases(region.chrom, start, end) for start, end in region.blocks)
            n_bases = sum(end - start for start, end in region.blocks)
        else:
            raw = bases(region.chrom, region.start, region.end)
            n_bases = region.end - region.start
        try:
            codes, n_iupac = encode(raw)
        except ValueError as problem:
            raise GenomeError(str(problem), path=self.path, record=str(region)) from problem
        if len(codes) != n_bases:
            reason = f"found {len(codes)} bases instead of {n_bases}: the file is damaged or has changed"
            raise GenomeError(reason, path=self.path, record=str(region))
        return (reverse_complement(codes) if region.strand == "-" else codes), n_iupac

    def htslib_fasta(self) -> Path:
        """A path to this FASTA with its index beside it, for libraries that look for it there.

        Raises:
            GenomeError: The genome is not FASTA, or no folder for an index can be written.
        """
        if not isinstance(self._source, IndexedFasta):
            raise GenomeError("must be FASTA here, not .2bit", path=self.path)
        return self._source.htslib_fasta()

    def _why_missing(self, chrom: str) -> str:
        reason = self._missing.get(chrom)
        if reason is None:
            reason = missing_contig(chrom, self.contigs, where=self.path.name)
            if len(self._missing) < _MOST_REMEMBERED:
                self._missing[chrom] = reason
        return reason


def find_genome(path: str | Path) -> Path:
    """The file of a genome: the path itself, or the downloaded genome of this name.

    Raises:
        GenomeError: It looks like the name of an assembly, and there is no such file.
    """
    path, name = Path(path), str(path)
    if path.exists() or path.suffix or path.name != name:
        return path
    for ending in GENOME_ENDINGS:
        if (found := cache_dir() / "genomes" / f"{name}{ending}").is_file():
            return found
    if re.fullmatch(r"[A-Za-z]+\d+", name):
        raise GenomeError(f"no such file or downloaded genome: run `findna data fetch {name}` first", path=name)
    return path


def iter_batches(
    items: Iterable[T], *, n_bases: Callable[[T], int], max_items: int = 4096, max_bases: int = 1 << 22
) -> Iterator[list[T]]:
    """Yield items in order, in lists for `fetch_many` that fit in memory.

    Args:
        items: Any items with regions.
        n_bases: Returns the number of bases of an item.
        max_items: Maximum number of items per list.
        max_bases: A list ends with the item that reaches it.
    """
    batch: list[T] = []
    total = 0
    for item in items:
        batch.append(item)
        total += n_bases(item)
        if len(batch) == max_items or total >= max_bases:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def _kind_of(path: Path) -> str | None:
    with suppress(InputError), ByteStream(path) as stream:
        return sniff(stream)
    return None


def _open(path: Path) -> _Contigs:
    try:
        with open_regular(path) as file:
            head = file.read(64)
    except OSError as problem:
        raise GenomeError(system_reason(problem, takes=GenomeError.takes), path=path) from problem
    if not head:
        raise GenomeError("the file is empty", path=path)
    if head[:4] in TWOBIT_MAGICS:
        return TwoBit(path)
    if head[:1] != b">" and (what := _KINDS.get(_kind_of(path) or "")):
        reason = f"holds {what}; the genome is a FASTA or .2bit file, which `findna data fetch hg38` downloads"
        raise GenomeError(f"{reason} (or hg19, mm39, ...)", path=path)
    if head[:2] == GZIP_MAGIC and not is_bgzf(head):
        name = path.name.removesuffix(".gz")
        reason = f"compressed with gzip, which cannot be indexed: gunzip {path.name} && bgzip {name}"
        raise GenomeError(reason, path=path)
    return IndexedFasta(path, is_compressed=is_bgzf(head))
