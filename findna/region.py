"""Region: a stretch of a genome, 0-based and half-open everywhere but in `str(region)`."""

from typing import NamedTuple



class Region(NamedTuple):
    """An interval [start, end) of a contig, with its BED name and strand.

    Args:
        chrom: Contig name.
        start: First base, 0-based.
        end: One past the last base.
        name: BED name, "" where there is none.
        strand: "+", "-" or ".".
        summit: 0-based position of a narrowPeak's summit on the contig, -1 where there is none.
        blocks: BED12 blocks as (start, end) on the contig, ascending; empty where there are none.

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

        >>> Region("chr1", 100, 200).resize(10)[:3]
        ('chr1', 145, 155)
        """
        middle = (self.start + self.end) // 2 if center is None else center
        start = middle - size // 2
        return self._replace(start=start, end=start + size, blocks=())


