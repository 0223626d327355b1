"""Sequences of 200 bases that are promoters, enhancers, repeats or unique: for the nearest neighbours of a teacher.

    python docs/tools/elements.py --enhancers human_enhancers_ensembl.tsv.gz --training windows.fa.gz \\
        --holdout chr8,chr20 docs/demo/elements.csv.gz

Promoters are the middles of `promoters.fa.gz` (GUE), enhancers the middles of GenomicBenchmarks'
human_enhancers_ensembl (positives, a table with label and sequence), repeats and unique pieces those of `repeats/`
(by the case of the letters in `genome.fa.gz`). A sequence that has a 31-mer in common with the training sequence is skipped,
so that all of them are held out. Of each class at most 250 are kept, spread over their files.

Other sequences, on which a read-out may be chosen: without `--training`, with `--skip docs/demo/elements.csv.gz` and
`--promoters gue/prom/prom_300_all/dev.csv.gz` (label 1 is a promoter).
"""

import argparse
import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from findna.data.datasets import Corpus, corpus_of, held_by
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


def promoters(table: Path | None) -> Iterator[Codes]:
    """The promoters of a table of sequences with 0 and 1, by default those of `promoters.fa.gz`."""
    if table:
        found = read_labelled([table])
        yield from (found.corpus[index] for index in np.flatnonzero(found.labels == found.classes.index("1")).tolist())
        return
    for item in read_fasta(DEMO / "promoters.fa.gz"):
        if not isinstance(item, InputError) and item.name == "promoter":
            yield item.codes


def candidates(enhancers: Path, table: Path | None) -> Iterator[tuple[str, Codes]]:
    """Class and bases of everything that there is, by class."""
    yield from (("promoter", middle(codes)) for codes in promoters(table))
    with gzip.open(enhancers, "rt", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["label"] == "positive" and len(row["sequence"]) >= LENGTH:
                yield "enhancer", middle(encode(row["sequence"])[0])
    for split in ("train", "valid", "test"):
        pieces = read_labelled(sorted((DEMO / "repeats" / split).glob("*.bed")), genome=DEMO / "genome.fa.gz")
        for index, label in enumerate(pieces.labels):
            yield pieces.classes[label], pieces.corpus[index]


def known_words(training: Path | None, holdout: list[str], table: Path | None) -> KmerSet:
    """The 31-mers of what was trained on, and of the sequences of a table."""
    found = [read_labelled([table]).corpus] if table else []
    if training:
        records = (item for item in read_fasta(training) if not isinstance(item, InputError))
        found.append(corpus_of(item.codes for item in records if not held_by(item.id, holdout)))
    return KmerSet(found)


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
    parser.add_argument("--training", type=Path, help="windows that were trained on")
    parser.add_argument("--holdout", default="chr8,chr20")
    parser.add_argument("--promoters", type=Path)
    parser.add_argument("--skip", type=Path, help="a table; sequences that share a 31-mer with it are left out")
    args = parser.parse_args()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sequence", "label"])
    rows = list(candidates(args.enhancers, args.promoters))
    seen = known_words(args.training, args.holdout.split(","), args.skip)
    for name, codes in unseen(rows, seen):
        writer.writerow([decode(codes), name])
    args.out.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


if __name__ == "__main__":
    main()
