"""The options for reading inputs as records."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from findna.config import Strand
from findna.io.sniff import KINDS
from findna.limits import shown
from findna.settings import problems_of, require, setting

SECONDARY_OR_SUPPLEMENTARY = 0x900
"""Flags of the records that are skipped by default, so each read occurs once, as its primary record."""


def sam_flags(text: str) -> int:
    """A SAM flag as a number, decimal or hexadecimal.

    Raises:
        ValueError: It is not a number.

    >>> sam_flags("0x900")
    2304
    """
    if not re.fullmatch(r"0x[0-9a-fA-F]{1,9}|[0-9]{1,9}", text):
        raise ValueError(f"{shown(text)} is not a number such as 2304 or 0x900")
    return int(text, 16 if "x" in text else 10)


@dataclass(frozen=True)
class InputOptions:
    """How inputs become records.

    Args:
        strand: "bed": a region's own (a read as sequenced); "+", "-": this strand of the genome (a FASTA
            record as it is, or its reverse complement); "both": as "bed"; the caller adds the other strand.

    Raises:
        ConfigError: A value is out of range, or two contradict each other.
    """

    genome: str | Path | None = setting(
        None,
        "Genome of the regions: FASTA (plain or bgzip), .2bit, or the name of a downloaded genome, e.g. hg38.",
        flag="--genome -g",
    )
    in_format: str | None = setting(
        None, f"{', '.join(KINDS[:-1])} or {KINDS[-1]}. Default: inferred from the content."
    )
    split: bool = setting(False, "Join the blocks of BED12 regions.", flag="--split")
    feature: str = setting(
        "", "GTF and GFF3: gene, transcript, tss (first base of a transcript), or a type of column 3."
    )
    size: int | None = setting(None, "Recentre regions to this many bases; 0 keeps them.", least=0)
    center: Literal["middle", "summit"] = setting(
        "middle", "Base that resizing keeps in the centre: middle, or summit (narrowPeak)."
    )
    max_n: float = setting(1.0, "Skip records whose N fraction exceeds this.", least=0, most=1)
    pad: bool = setting(False, "Fill with N where a region reaches past the end of its contig.", flag="--pad")
    circular: tuple[str, ...] = setting(
        (),
        "Circular contigs, separated by commas: a region that reaches past one end continues at the other.",
        parse=lambda text: tuple(text.split(",")),
    )
    sequence_column: str = setting("", "Tables: column with the sequence. Default: sequence, seq or dna.")
    id_column: str = setting("", "Tables: column with the ids. Default: id or name, else the line numbers.")
    strand: Strand = setting("bed", "bed (strand of each record), +, -, or both (mean of the two vectors).")
    region: str | None = setting(None, "BAM: only reads that overlap this region.")
    min_mapq: int = setting(0, "BAM: minimum MAPQ.", least=0)
    exclude_flags: int = setting(
        SECONDARY_OR_SUPPLEMENTARY,
        "BAM: skip reads with any of these flag bits (as samtools view -F).",
        least=0,
        most=0xFFFF,
        parse=sam_flags,
        shown="0x900",
    )
    reference_bases: bool = setting(
        False, "BAM: use the genome's bases under each alignment, not the read's.", flag="--reference-bases"
    )

    def __post_init__(self) -> None:
        from findna.io.genome import find_genome  # loads numpy, which help pages do without

        if self.genome is not None:
            object.__setattr__(self, "genome", find_genome(self.genome))
        object.__setattr__(self, "size", self.size or None)
        problems = problems_of(self)
        if self.in_format is not None and self.in_format.lower() not in KINDS:
            problems.append(f"in_format must be one of {', '.join(KINDS)}, not {self.in_format!r}")
        if self.size is not None and self.split:
            problems.append("give size or split, not both")
        if self.center == "summit" and self.size is None:
            problems.append("center=summit needs a size")
        require(problems)

    def facts(self) -> dict[str, Any]:
        """The entry in an output; the genome has its own entry."""
        return {name: value for name, value in asdict(self).items() if name != "genome"}
