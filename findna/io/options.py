"""How inputs become records: the options that travel together."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from findna.config import STRANDS
from findna.errors import ConfigError
from findna.io.bam import SECONDARY_OR_SUPPLEMENTARY
from findna.io.genome import find_genome
from findna.io.sniff import KINDS


@dataclass(frozen=True)
class InputOptions:
    """How inputs become records.

    Args:
        in_format: The kind of all inputs, see `findna.io.sniff.KINDS`; None: by content.
        genome: FASTA or .2bit, for regions, CRAM and `reference_bases`.
        split: Join the blocks of BED12 rows.
        feature: GTF and GFF: gene, transcript, tss (first base of a transcript), or a type of column 3.
        size: Recentre every region to so many bases.
        center: What stays in the middle then: "middle" or "summit" (narrowPeak).
        max_n: Largest fraction of N, IUPAC codes among them, in a record.
        pad: Fill with N where a region reaches past the end of its contig; otherwise this is an error.
        circular: Circular contigs: a region that reaches past one end continues at the other.
        sequence_column: Tables: column with the sequence; "": sequence, seq or dna.
        strand: "bed": a region's own (a read as sequenced); "+", "-": of the genome (a FASTA
            record as it is, or reversed); "both": as "bed", for a caller who turns them himself.
        region: BAM: only reads that overlap this region string.
        min_mapq: BAM: smallest mapping quality.
        exclude_flags: BAM: SAM flags of reads to leave out.
        reference_bases: BAM: the genome's bases under the alignment.

    Raises:
        ConfigError: A value is out of range, or two contradict each other.
    """

    in_format: str | None = None
    genome: str | Path | None = None
    split: bool = False
    feature: str = ""
    size: int | None = None
    center: str = "middle"
    max_n: float = 1.0
    pad: bool = False
    circular: tuple[str, ...] = ()
    sequence_column: str = ""
    strand: str = "bed"
    region: str | None = None
    min_mapq: int = 0
    exclude_flags: int = SECONDARY_OR_SUPPLEMENTARY
    reference_bases: bool = False

    def __post_init__(self) -> None:
        if self.genome is not None:
            object.__setattr__(self, "genome", find_genome(self.genome))
        problems = []
        if self.in_format is not None and self.in_format.lower() not in KINDS:
            problems.append(f"--in-format {self.in_format}: there are {', '.join(KINDS)}")
        if self.size is not None and self.size < 1:
            problems.append(f"--size {self.size} must be at least 1")
        if self.size is not None and self.split:
            problems.append("--size and --split contradict each other")
        if self.center not in ("middle", "summit"):
            problems.append(f"--center {self.center} must be middle or summit")
        if self.center == "summit" and self.size is None:
            problems.append("--center summit needs --size")
        if not 0 <= self.max_n <= 1:
            problems.append(f"--max-n {self.max_n} must lie between 0 and 1")
        if self.strand not in STRANDS:
            problems.append(f"--strand {self.strand} must be one of {', '.join(STRANDS)}")
        if problems:
            raise ConfigError("; ".join(problems))

    def facts(self) -> dict[str, Any]:
        """What an output says of them; the genome is a fact of its own."""
        return {name: value for name, value in asdict(self).items() if name != "genome"}
