"""The tutorial's BED files: pieces of a soft-masked genome that are all repeat, or all unique.

    python docs/tools/repeats.py docs/demo/genome.fa.gz docs/demo/repeats

UCSC writes in lower case what RepeatMasker and Tandem Repeats Finder mark. It divides the genome into pieces of 200 bases. A
piece of which less than 1 % is masked is `unique`, one of which more than 99 % is masked is `repeat`, and the others
are skipped. The splits are stretches of the contig, in the order train, valid, test: no piece overlaps another, and
neighbours stay together. Of the pieces of each class, every second is kept.
"""

import sys
from pathlib import Path

import pysam

PIECE = 200
SPLITS = {"train": 0.6, "valid": 0.2, "test": 0.2}


def main(source: str, target: str) -> None:
    """Write target/SPLIT/CLASS.bed for the first contig of a FASTA."""
    with pysam.FastaFile(source) as genome:
        chrom = genome.references[0]
        bases = genome.fetch(chrom)
    pieces: dict[str, list[int]] = {"repeat": [], "unique": []}
    for start in range(0, len(bases) - PIECE + 1, PIECE):
        piece = bases[start : start + PIECE]
        if "N" in piece.upper():
            continue
        share = sum(base.islower() for base in piece) / PIECE
        if share < 0.01 or share > 0.99:
            pieces["repeat" if share > 0.5 else "unique"].append(start)
    first, last = min(map(min, pieces.values())), max(map(max, pieces.values())) + PIECE
    edge = float(first)
    for split, share in SPLITS.items():
        begin, edge = edge, edge + share * (last - first)
        folder = Path(target) / split
        folder.mkdir(parents=True, exist_ok=True)
        for name, starts in pieces.items():
            kept = [start for start in starts[::2] if begin <= start and start + PIECE <= edge + 0.5]
            lines = [f"{chrom}\t{start}\t{start + PIECE}\n" for start in kept]
            (folder / f"{name}.bed").write_text("".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
