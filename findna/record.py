"""Record: one sequence to embed, and its origin."""

from collections.abc import Mapping
from typing import NamedTuple

from findna.limits import SHORT_REGION
from findna.sequence import Codes


class Record(NamedTuple):
    """One input sequence, on the strand to embed, from any kind of file.

    Args:
        id: Unique row key: `chrom:start-end(strand)`, the FASTA id, or the read name (/1 or /2 for mates).
        codes: Its bases, shape (n,), n >= 1; see `findna.sequence`.
        n_iupac: Number of IUPAC codes that became N.
        row: 0-based index among the records of its input, skipped ones included.
        source: Its input, as the user wrote it.
        name: BED name, FASTA description or read name; "" if there is none.
        chrom: Contig, "" without coordinates.
        start: 0-based first base, -1 without coordinates.
        end: One past the last base, -1 without coordinates.
        strand: "+", "-" or ".".
        extra: Further columns of this kind of input (BAM: flag, mapq).
    """

    id: str
    codes: Codes
    n_iupac: int
    row: int
    source: str
    name: str = ""
    chrom: str = ""
    start: int = -1
    end: int = -1
    strand: str = "."
    extra: Mapping[str, int] = {}

    @property
    def is_short_region(self) -> bool:
        """Whether it is a region, not a read, with too few bases to have a context, such as a SNP."""
        return self.start >= 0 and not self.extra and len(self.codes) < SHORT_REGION
