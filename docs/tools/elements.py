"""Sequences of 200 bases that are promoters, enhancers, repeats or unique: for the nearest neighbours of a teacher.

    python docs/tools/elements.py --enhancers human_enhancers_ensembl.tsv.gz --training windows.fa.gz \\
        --holdout chr8,chr20 docs/demo/elements.csv.gz

Promoters are the middles of `promoters.fa.gz` (GUE), enhancers the middles of GenomicBenchmarks'
human_enhancers_ensembl (positives, a table with label and sequence), repeats and unique pieces those of `repeats/`
(by the case of the letters in `genome.fa.gz`). A sequence that has a 31-mer in common with the training sequence is skipped,
so that all of them are held out. Of each class at most 250 are kept, spread over their files.
"""

import argparse
import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from findna.data.datasets import Corpus, corpus_of, is_held_out
from findna.data.labelled import read_labelled
from findna.data.overlap import KmerSet
from findna.errors import InputError
from findna.io.fasta import read_fasta
from findna.sequence import Codes, N, decode, encode

DEMO = Path(__file__).parents[1] / "demo"
LENGTH, MOST = 200, 250


def middle(codes: Codes) -> Codes:
    """Its 200 bases in the middle."""
    start = (len(codes) - LENGTH) // 2
    return codes[start : start + LENGTH]


def candidates(enhancers: Path) -> Iterator[tuple[str, Codes]]:
    """Class and bases of everything that there is, by class."""
    for item in read_fasta(DEMO / "promoters.fa.gz"):
        if not isinstance(item, InputError) and item.name == "promoter":
            yield "promoter", middle(item.codes)
    with gzip.open(enhancers, "rt", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["label"] == "positive" and len(row["sequence"]) >= LENGTH:
                yield "enhancer", middle(encode(row["sequence"])[0])
    for split in ("train", "valid", "test"):
        pieces = read_labelled(sorted((DEMO / "repeats" / split).glob("*.bed")), genome=DEMO / "genome.fa.gz")
        for index, label in enumerate(pieces.labels):
            yield pieces.classes[label], pieces.corpus[index]


def training_words(path: Path, holdout: list[str]) -> KmerSet:
    """The 31-mers of what was trained on."""
    records = (item for item in read_fasta(path) if not isinstance(item, InputError))
    return KmerSet([corpus_of(item.codes for item in records if not is_held_out(item.id, holdout))])


def unseen(rows: list[tuple[str, Codes]], words: KmerSet) -> Iterator[tuple[str, Codes]]:
    """The rows without an N and without a 31-mer of the training sequence, evenly thinned to at most N per class."""
    corpus: Corpus = corpus_of(codes for _, codes in rows)
    is_new = words.count_in(corpus) == 0
    kept: dict[str, list[Codes]] = {}
    for (name, codes), is_kept in zip(rows, is_new, strict=True):
        if is_kept and not (codes == N).any():
            kept.setdefault(name, []).append(codes)
    for name, found in kept.items():
        for index in np.unique(np.linspace(0, len(found) - 1, min(MOST, len(found))).astype(int)):
            yield name, found[index]


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--enhancers", type=Path, required=True)
    parser.add_argument("--training", type=Path, required=True)
    parser.add_argument("--holdout", default="chr8,chr20")
    args = parser.parse_args()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sequence", "label"])
    rows = list(candidates(args.enhancers))
    for name, codes in unseen(rows, training_words(args.training, args.holdout.split(","))):
        writer.writerow([decode(codes), name])
    args.out.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


if __name__ == "__main__":
    main()
