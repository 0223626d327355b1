"""The work of `findna data`: genomes fetched, training sets made, splits audited."""

from collections.abc import Sequence
from pathlib import Path

from findna.benchmark.audit import Audit, read_splits
from findna.benchmark.audit import Overlap as Overlap
from findna.benchmark.audit import audit as audit_splits
from findna.data.fetch import fetch_genome as fetch_genome
from findna.data.recipe import make_windows as make_windows
from findna.data.sifting import reasons_of as reasons_of
from findna.errors import ConfigError


def audit(
    files: Sequence[str | Path],
    *,
    genome: str | Path | None = None,
    threshold: float = 0.5,
    sequence_column: str = "",
    label_column: str = "",
) -> Audit:
    """The sequences that splits share, and those with more than one label; see `findna.benchmark.audit.audit`.

    Args:
        files: One table, FASTA or BED file per split: training, validation, test.
        genome: FASTA or .2bit of the BED files.
        threshold: Minimum fraction of its 16-mers that a near duplicate shares.
        sequence_column: Of a table; "": sequence, seq or dna.
        label_column: Of a table; "": label, class or target.

    Raises:
        InputError: A file is invalid.
        ConfigError: The threshold is out of range, or a file is a duplicate.
    """
    if not 0 < threshold <= 1:
        raise ConfigError(f"threshold must lie above 0 and be at most 1, not {threshold:g}")
    splits = read_splits(
        [Path(file) for file in files],
        genome=Path(genome) if genome else None,
        sequence_column=sequence_column,
        label_column=label_column,
    )
    return audit_splits(splits, threshold=threshold)
