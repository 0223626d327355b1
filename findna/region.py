"""Region: an interval of a genome, 0-based and half-open everywhere but in `str(region)`."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from findna.errors import RegionError


class Region(NamedTuple):
    """An interval [start, end) of a contig, with its BED name and strand.

    Attributes:
        chrom: Contig name.
        start: First base, 0-based.
        end: One past the last base.
        name: BED name, "" if there is none.
        strand: "+", "-" or ".".
        summit: 0-based position of a narrowPeak's summit on the contig, -1 if there is none.
        blocks: BED12 blocks as (start, end) on the contig, ascending; empty if there are none.

    Examples:
        >>> str(Region("chr1", 1000, 2000))
        'chr1:1,001-2,000'
    """

    chrom: str
    start: int
    end: int
    name: str = ""
    strand: str = "."
    summit: int = -1
    blocks: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        return f"{self.chrom}:{self.start + 1:,}-{self.end:,}"

    @property
    def id(self) -> str:
        """`chrom:start-end(strand)`, 0-based, as `bedtools getfasta -s` writes it."""
        return f"{self.chrom}:{self.start}-{self.end}({self.strand})"

    def resize(self, size: int, *, center: int | None = None) -> "Region":
        """The region of `size` bases around `center` (default: its own middle), without its blocks.

        The center is the base at `size // 2` of the result. The result may reach outside the contig.

        Examples:
            >>> Region("chr1", 100, 200).resize(10)[:3]
            ('chr1', 145, 155)
        """
        middle = (self.start + self.end) // 2 if center is None else center
        start = middle - size // 2
        return self._replace(start=start, end=start + size, blocks=())


_BRACED = re.compile(r"\{(?P<chrom>[^{}]+)\}(?P<positions>.*)")
_POSITIONS = re.compile(r":(?P<start>[0-9][0-9,]*)?(?:-(?P<end>[0-9][0-9,]*)?)?")
_MOST_DIGITS = 18
_MITOCHONDRIA = ("chrM", "MT", "M", "chrMT")


def is_region_string(text: str) -> bool:
    """Whether a text has the form `chrom:start-end`, for any genome.

    >>> is_region_string("chr1:1,000-2,000"), is_region_string("peaks.bed")
    (True, False)
    """
    match = _POSITIONS.fullmatch(_split_positions(text)[1])
    return match is not None and any(match.groups())


def parse_region(text: str, contigs: Mapping[str, int], *, where: str = "the genome") -> Region:
    """The region of a string such as `chr1:1,001-2,000`: 1-based and inclusive.

    As in samtools: `chr1` is the whole contig, `chr1:1000` and `chr1:1000-` reach to its end,
    `chr1:-2000` begins at its first base. A contig name may contain colons: the longest name in
    `contigs` that matches is used; `{name}:1-5` marks the name. Regions are not shortened:
    the genome checks whether a region lies within its contig.

    Args:
        text: The region.
        contigs: Name and length of every contig.
        where: Name of the genome in messages.

    Raises:
        RegionError: The contig is unknown, or the positions are none.

    >>> parse_region("HLA:01:3-5", {"HLA": 50, "HLA:01": 9})[:3]
    ('HLA:01', 2, 5)
    """
    chrom, positions = (text, "") if text in contigs else _split_positions(text)
    if chrom not in contigs:
        raise RegionError(missing_contig(chrom, contigs, where=where), path=text)
    if not positions:
        return Region(chrom, 0, contigs[chrom])
    match = _POSITIONS.fullmatch(positions)
    if match is None or not any(match.groups()):
        raise RegionError("positions must look like 1,001-2,000", path=text)
    first = _position(match["start"], text) if match["start"] else 1
    last = _position(match["end"], text) if match["end"] else contigs[chrom]
    if first < 1:
        raise RegionError("positions of a region string count from 1", path=text)
    if first > last:
        end = f"its end {last:,}" if match["end"] else f"the end of {chrom} ({last:,} bases)"
        raise RegionError(f"start {first:,} is past {end}", path=text)
    return Region(chrom, first - 1, last)


def _position(digits: str, text: str) -> int:
    bare = digits.replace(",", "")
    if len(bare) > _MOST_DIGITS:
        raise RegionError(f"position {bare[:_MOST_DIGITS]}... is too large", path=_short(text))
    return int(bare)


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _split_positions(text: str) -> tuple[str, str]:
    if braced := _BRACED.fullmatch(text):
        return braced["chrom"], braced["positions"]
    chrom, colon, positions = text.rpartition(":")
    return (chrom, colon + positions) if chrom else (text, "")


def missing_contig(chrom: str, contigs: Iterable[str], *, where: str = "the genome") -> str:
    """The error of a contig that is not found, with a similar name.

    >>> missing_contig("chr7", ["6", "7"], where="hg38.fa")
    "contig 'chr7' is not in hg38.fa (did you mean '7'?)"
    """
    names = list(contigs)
    bare = chrom.removeprefix("chr")
    wanted = [f"chr{chrom}", bare, f"chr{bare}"]
    if chrom in _MITOCHONDRIA:
        wanted += _MITOCHONDRIA
    by_case = {name.lower(): name for name in reversed(names)}
    found = [by_case[name.lower()] for name in (*wanted, chrom) if name.lower() in by_case]
    if found:
        hint = f"did you mean {found[0]!r}?"
    else:
        hint = f"it has {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}"
    return f"contig {chrom!r} is not in {where} ({hint})"
