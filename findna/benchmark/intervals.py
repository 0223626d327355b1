"""Sets of GenomicBenchmarks: intervals on genomes, cut into sequences."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from findna.benchmark.splits import BenchmarkTask, Skipped, Splits, below, read_one_table
from findna.data.datasets import corpus_of
from findna.data.labelled import LabelledSet
from findna.errors import ConfigError, TableError
from findna.io.compressed import ByteStream
from findna.io.files import sha256
from findna.io.genome import Genome
from findna.region import Region
from findna.sequence import Codes
from findna.settings import parse_number

_FEWEST = 10


class _Interval(NamedTuple):
    region: Region
    label: int
    id: str
    line: int
    species: str


def genomic_benchmarks(folder: Path, genomes: Mapping[str, Path]) -> Iterator[BenchmarkTask | Skipped]:
    """Yield the sets below a folder, by name; a set is skipped if a genome is missing.

    Args:
        folder: It holds a metadata.yaml per set.
        genomes: FASTA or .2bit by species, such as homo_sapiens.
    """
    for metadata in sorted(below(folder, "metadata.yaml")):
        name = metadata.parent.name
        species = _species(metadata)
        if missing := sorted(set(species.values()) - set(genomes)):
            yield Skipped(name, f"needs these genomes: {', '.join(f'{one}=FILE' for one in missing)}")
            continue
        intervals = {split: list(_intervals(metadata.parent / split, species)) for split in ("train", "test")}
        n = sum(map(len, intervals.values()))
        kept = {split: _that_fit(rows, genomes) for split, rows in intervals.items()}
        n_kept = sum(map(len, kept.values()))
        fewest = min(sum(row.label == k for row in rows) for rows in kept.values() for k in range(len(species)))
        if fewest < _FEWEST:
            yield Skipped(
                name, f"{n - n_kept:,} of its {n:,} intervals do not fit this genome, and one class keeps only {fewest}"
            )
            continue
        note = f"{n - n_kept:,} of {n:,} intervals do not fit this genome and were skipped" if n_kept < n else ""
        load = partial(_cut_splits, kept, tuple(species), genomes, metadata.parent)
        yield BenchmarkTask("genomic-benchmarks", name, note, not note, load)
    for path in sorted(folder.glob("*.ready.tsv.gz")):
        note = "a part of the official set, already extracted"
        yield BenchmarkTask(
            "genomic-benchmarks", path.name.removesuffix(".tsv.gz"), note, False, partial(read_one_table, path)
        )


def _species(metadata: Path) -> dict[str, str]:
    """The genome of each class by class name, from a metadata.yaml; a transcriptome is SPECIES.cdna."""
    found: dict[str, str] = {}
    name = ""
    for number, line in enumerate(metadata.read_text().splitlines(), start=1):
        if entry := re.fullmatch(r"  ([^\s:]+):\s*", line):
            name = entry[1]
        elif url := re.fullmatch(r"    url:\s*\S*/fasta/(\w+)/(\w+)/\S*", line):
            if not name:
                raise TableError("a url without a class", path=metadata, line=number)
            found[name] = url[1] + (".cdna" if url[2] == "cdna" else "")
    if len(found) < 2:
        raise TableError("names fewer than two classes with an Ensembl url each", path=metadata)
    return dict(sorted(found.items()))


def _intervals(folder: Path, species: Mapping[str, str]) -> Iterator[_Interval]:
    for label, (name, genome) in enumerate(species.items()):
        path = folder / f"{name}.csv.gz"
        with ByteStream(path, error=TableError) as stream:
            reader = csv.DictReader(line.decode() for line in stream.lines())
            if missing := {"id", "region", "start", "end"} - set(reader.fieldnames or ()):
                stream.fail(f"no column {', '.join(sorted(missing))}", line=1)
            for row in reader:
                try:
                    start, end = parse_number(row["start"] or "", int), parse_number(row["end"] or "", int)
                except ValueError:
                    stream.fail("start and end are not numbers", line=reader.line_num)
                strand = row.get("strand") or "."
                yield _Interval(
                    Region(row["region"], start, end, strand=strand), label, row["id"], reader.line_num, genome
                )


def _that_fit(rows: Sequence[_Interval], genomes: Mapping[str, Path]) -> list[_Interval]:
    """The intervals that lie on their genome, with the genome's contig names."""
    kept = []
    opened = {name: Genome(genomes[name]) for name in {row.species for row in rows}}
    for row in rows:
        genome = opened[row.species]
        chrom = row.region.chrom
        names = (chrom, chrom.removeprefix("chr"), f"chr{chrom}")
        region = row.region._replace(chrom=next((name for name in names if name in genome.contigs), chrom))
        if region.start < region.end and genome.check(region) is None:
            kept.append(row._replace(region=region))
    for genome in opened.values():
        genome.close()
    return kept


def _cut_splits(
    kept: Mapping[str, Sequence[_Interval]], classes: tuple[str, ...], genomes: Mapping[str, Path], folder: Path
) -> Splits:
    train, test = (_cut(kept[split], classes, genomes, folder / split) for split in ("train", "test"))
    return Splits(train, None, test)


def _cut(rows: Sequence[_Interval], classes: tuple[str, ...], genomes: Mapping[str, Path], folder: Path) -> LabelledSet:
    codes: list[Codes] = [np.empty(0, np.uint8)] * len(rows)
    for species in {row.species for row in rows}:
        indices = [index for index, row in enumerate(rows) if row.species == species]
        with Genome(genomes[species]) as genome:
            for index, (bases, _) in zip(indices, genome.fetch_many([rows[i].region for i in indices]), strict=True):
                codes[index] = bases
    return LabelledSet(
        corpus=corpus_of(codes),
        labels=np.array([row.label for row in rows], dtype=np.int64),
        classes=classes,
        objective="classification",
        ids=tuple(row.id for row in rows),
        lines=np.array([row.line for row in rows], dtype=np.int64),
        sources={str(path): sha256(path) for path in sorted(folder.glob("*.csv.gz"))},
    )


def parse_genomes(texts: Iterable[str]) -> dict[str, Path]:
    """Genomes of the command line, `SPECIES=FILE`; a plain file is homo_sapiens.

    Raises:
        ConfigError: A species is a duplicate.

    >>> parse_genomes(["hg38.fa", "mus_musculus=mm10.fa"])["mus_musculus"].name
    'mm10.fa'
    """
    found: dict[str, Path] = {}
    for text in texts:
        species, has_name, path = text.rpartition("=")
        species = species if has_name else "homo_sapiens"
        if species in found:
            raise ConfigError(f"genomes: duplicate species {species}")
        found[species] = Path(path)
    return found
