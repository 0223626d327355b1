"""Where a benchmark's sets lie on the disk, and what each of them is: GUE, GenomicBenchmarks, MTcDNA, any folder."""

import csv
import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from glob import glob
from pathlib import Path
from typing import NamedTuple

import numpy as np

from findna.data.datasets import corpus_of
from findna.data.labelled import LabelledSet, read_labelled, split_off
from findna.errors import ConfigError, InputError, TableError
from findna.io.compressed import ByteStream
from findna.io.files import sha256
from findna.io.genome import Genome
from findna.region import Region
from findna.sequence import Codes

ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
VALID_FRACTION = 0.1
MTCDNA_LENGTHS = (1024, 4096, 8192)
_FASTA = (".fa", ".fasta", ".fna", ".fa.gz", ".fasta.gz", ".fna.gz")
_FEWEST = 10
_DRAW = 20240513


class Splits(NamedTuple):
    """A set, read.

    Args:
        train: To train on.
        valid: To choose by; None where the set has none: a tenth of `train` is split off then, for each seed anew.
        test: Scored once, at the end.
    """

    train: LabelledSet
    valid: LabelledSet | None
    test: LabelledSet

    def limited(self, n_train: int, n_test: int) -> "Splits":
        """The same with at most so many sequences; 0 is all. The draw does not depend on a run's seed."""
        valid = self.valid and _limited(self.valid, n_test)
        return Splits(_limited(self.train, n_train), valid, _limited(self.test, n_test))

    def chosen(self, seed: int) -> tuple[LabelledSet, LabelledSet]:
        """(train, valid) of a seed."""
        return (
            split_off(self.train, fraction=VALID_FRACTION, seed=seed)
            if self.valid is None
            else (self.train, self.valid)
        )


@dataclass(frozen=True)
class BenchmarkTask:
    """One set of a suite.

    Args:
        suite: Name of the suite.
        name: Its folder, within the suite's.
        note: What a reader of its figures must know; "" where there is nothing.
        is_comparable: Whether published figures may be printed next to its own, with the note.
        load: Reads it.
    """

    suite: str
    name: str
    note: str
    is_comparable: bool
    load: Callable[[], Splits]


@dataclass(frozen=True)
class Skipped:
    """An existing set that cannot be used.

    Args:
        name: Its folder.
        reason: Why, and what to do.
    """

    name: str
    reason: str


def find_tasks(
    suite: str, folder: Path, *, only: Sequence[str] = (), genomes: Mapping[str, Path] | None = None
) -> tuple[list[BenchmarkTask], list[Skipped]]:
    """The sets of a suite that lie in a folder, by name, and those that cannot be used.

    Args:
        suite: gue, genomic-benchmarks, mtcdna or csv.
        folder: Where they lie.
        only: Names of those that are wanted; () is all.
        genomes: genomic-benchmarks: genome of each species, as in its metadata.yaml (`homo_sapiens`).

    Raises:
        ConfigError: No such suite, or no such set in it.
        InputError: The folder holds none.
    """
    finders = {"gue": _gue, "genomic-benchmarks": _genomic_benchmarks, "mtcdna": _mtcdna, "csv": _csv}
    if suite not in finders:
        raise ConfigError(f"suite {suite!r} is not known: {', '.join(finders)}")
    if not folder.is_dir():
        raise InputError("is not a folder", path=folder)
    found = list(finders[suite](folder, genomes or {}))
    if not found:
        raise InputError(f"holds no set of {suite}; expected {LAYOUTS[suite]}", path=folder)
    names = [item.name for item in found]
    for name in only:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{folder} has no set {name}{hint} (there are {', '.join(names)})")
    wanted = [item for item in found if not only or item.name in only]
    return [i for i in wanted if isinstance(i, BenchmarkTask)], [i for i in wanted if isinstance(i, Skipped)]


LAYOUTS = {
    "gue": "nested folders with train, dev and test as .csv or .csv.gz (sequence,label)",
    "genomic-benchmarks": "that project's datasets/: SET/metadata.yaml and SET/{train,test}/CLASS.csv.gz",
    "mtcdna": "one folder per class (mouse/, turtle/) with cDNA of its species as FASTA, or train, dev and test tables",
    "csv": "folders with train, dev (or valid) and test tables, or tables with a column split",
}
"""What each suite looks for."""


def _gue(folder: Path, genomes: Mapping[str, Path]) -> Iterator[BenchmarkTask | Skipped]:
    yield from _table_folders("gue", folder)


def _csv(folder: Path, genomes: Mapping[str, Path]) -> Iterator[BenchmarkTask | Skipped]:
    yield from _table_folders("csv", folder)
    for path in sorted(folder.iterdir()):
        if path.name.endswith(ENDINGS) and "split" in _header(path):
            name = path.name.partition(".")[0]
            yield BenchmarkTask("csv", name, "", False, partial(_read_one_table, path))


def _table_folders(suite: str, folder: Path) -> Iterator[BenchmarkTask | Skipped]:
    for place in sorted({path.parent for path in _below(folder, "test.*") if path.name.endswith(ENDINGS)}):
        name = place.relative_to(folder).as_posix()
        name = folder.resolve().name if name == "." else name
        test, train = _table(place, "test"), _table(place, "train")
        valid = _table(place, "dev") or _table(place, "valid")
        partial_train = next((p for p in sorted(place.glob("train_*")) if p.name.endswith(ENDINGS)), None)
        note = ""
        if not train and partial_train:
            train, note = partial_train, f"trained on {partial_train.name}, a part of the official training split"
        elif not train and valid:
            note = f"no training split here: trained on {valid.name}, a tenth of it validates"
            train, valid = valid, None
        if not train:
            yield Skipped(name, f"{place} has a test split and nothing to train on")
            continue
        load = partial(_read_tables, train, valid, test or place)
        yield BenchmarkTask(suite, name, note, suite == "gue" and not note, load)


def _below(folder: Path, pattern: str) -> list[Path]:
    """Files below a folder, in linked folders too, which `Path.rglob` passes by."""
    return [folder / name for name in glob(f"**/{pattern}", root_dir=folder, recursive=True)]  # noqa: PTH207


def _table(folder: Path, split: str) -> Path | None:
    return next((folder / f"{split}{end}" for end in ENDINGS if (folder / f"{split}{end}").is_file()), None)


def _read_tables(train: Path, valid: Path | None, test: Path) -> Splits:
    read = partial(read_labelled, objective="classification")
    first = read([train])
    return Splits(first, read([valid], classes=first.classes) if valid else None, read([test], classes=first.classes))


def _header(path: Path) -> list[str]:
    with ByteStream(path, error=TableError) as stream:
        first = next(stream.lines(), b"").decode(errors="replace")
    return first.strip().split("\t" if "\t" in first else ",")


def _read_one_table(path: Path) -> Splits:
    whole = read_labelled([path], objective="classification")
    with ByteStream(path, error=TableError) as stream:
        lines = [line.decode(errors="replace") for line in stream.lines()]
    column = _header(path).index("split")
    reader = csv.reader(lines, delimiter="\t" if "\t" in lines[0] else ",")
    by_line: dict[int, str] = {}
    for cells in reader:
        by_line[reader.line_num] = cells[column].strip() if len(cells) > column else ""
    splits = np.array([by_line.get(line, "") for line in whole.lines.tolist()])
    taken = {name: whole.take(np.flatnonzero(splits == name)) for name in ("train", "dev", "valid", "test")}
    if not len(taken["train"]) or not len(taken["test"]):
        raise TableError(f"column split has {', '.join(sorted(set(splits)))}; train and test are needed", path=path)
    valid = taken["dev"] if len(taken["dev"]) else taken["valid"]
    return Splits(taken["train"], valid if len(valid) else None, taken["test"])


class _Interval(NamedTuple):
    region: Region
    label: int
    id: str
    line: int
    species: str


def _genomic_benchmarks(folder: Path, genomes: Mapping[str, Path]) -> Iterator[BenchmarkTask | Skipped]:
    for metadata in sorted(_below(folder, "metadata.yaml")):
        name = metadata.parent.name
        species = _species(metadata)
        if missing := sorted(set(species.values()) - set(genomes)):
            genomes_of = " ".join(f"{one}=FILE" for one in missing)
            yield Skipped(name, f"its intervals lie on {', '.join(missing)}: name each genome, as {genomes_of}")
            continue
        intervals = {split: list(_intervals(metadata.parent / split, species)) for split in ("train", "test")}
        n = sum(map(len, intervals.values()))
        kept = {split: _that_fit(rows, genomes) for split, rows in intervals.items()}
        n_kept = sum(map(len, kept.values()))
        fewest = min(sum(row.label == k for row in rows) for rows in kept.values() for k in range(len(species)))
        if fewest < _FEWEST:
            yield Skipped(
                name, f"{n - n_kept:,} of its {n:,} intervals do not fit this genome; a class is left with {fewest}"
            )
            continue
        note = f"{n - n_kept:,} of {n:,} intervals do not fit this genome and were skipped" if n_kept < n else ""
        load = partial(_cut_splits, kept, tuple(species), genomes, metadata.parent)
        yield BenchmarkTask("genomic-benchmarks", name, note, not note, load)
    for path in sorted(folder.glob("*.ready.tsv.gz")):
        note = "a part of the official set, already extracted"
        yield BenchmarkTask(
            "genomic-benchmarks", path.name.removesuffix(".tsv.gz"), note, False, partial(_read_one_table, path)
        )


def _species(metadata: Path) -> dict[str, str]:
    """Class name to the key of its genome, of a metadata.yaml; a transcriptome is SPECIES.cdna."""
    found: dict[str, str] = {}
    name = ""
    for number, line in enumerate(metadata.read_text().splitlines(), start=1):
        if entry := re.fullmatch(r"  ([^\s:]+):\s*", line):
            name = entry[1]
        elif url := re.fullmatch(r"    url:\s*\S*/fasta/(\w+)/(\w+)/\S*", line):
            if not name:
                raise TableError("a url that belongs to no class", path=metadata, line=number)
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
                    start, end = int(row["start"]), int(row["end"])
                except (TypeError, ValueError):
                    stream.fail("start and end are not numbers", line=reader.line_num)
                strand = row.get("strand") or "."
                yield _Interval(
                    Region(row["region"], start, end, strand=strand), label, row["id"], reader.line_num, genome
                )


def _that_fit(rows: Sequence[_Interval], genomes: Mapping[str, Path]) -> list[_Interval]:
    """Those that lie on their genome, under the genome's own name of the contig."""
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


def _mtcdna(folder: Path, genomes: Mapping[str, Path]) -> Iterator[BenchmarkTask | Skipped]:
    classes = {place.name: _fastas(place) for place in sorted(folder.iterdir()) if place.is_dir()}
    classes = {name: paths for name, paths in classes.items() if paths}
    train, test = _table(folder, "train"), _table(folder, "test")
    load: Callable[[int], Splits]
    if train and test:
        load, split = partial(_read_cropped, train, _table(folder, "dev"), test), "the split is one's own"
    elif len(classes) > 1:
        load, split = partial(_read_classes, classes), "a tenth of the sequences, drawn here, is the test split"
    else:
        return
    for length in MTCDNA_LENGTHS:
        note = f"the first {length:,} bases of each cDNA; {split}: the paper's is not published"
        yield BenchmarkTask("mtcdna", str(length), note, True, partial(load, length))


def _fastas(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.endswith(_FASTA))


def _read_cropped(train: Path, valid: Path | None, test: Path, length: int) -> Splits:
    splits = _read_tables(train, valid, test)
    return Splits(_crop(splits.train, length), splits.valid and _crop(splits.valid, length), _crop(splits.test, length))


def _read_classes(classes: Mapping[str, Sequence[Path]], length: int) -> Splits:
    paths = [path for found in classes.values() for path in found]
    names: dict[str, str] = {}
    for name, found in classes.items():
        for path in found:
            if names.setdefault(path.name.removesuffix(".gz").rpartition(".")[0], name) != name:
                raise InputError("a file of another class has the same name: rename one", path=path)
    whole = _crop(read_labelled(paths, class_names=names), length)  # before the split: transcripts begin alike
    train, test = split_off(whole, fraction=VALID_FRACTION, seed=_DRAW)
    return Splits(train, None, test)


def _crop(labelled: LabelledSet, length: int) -> LabelledSet:
    return replace(labelled, corpus=corpus_of(labelled.corpus[i][:length] for i in range(len(labelled))))


def _limited(labelled: LabelledSet, n: int) -> LabelledSet:
    if not n or len(labelled) <= n:
        return labelled
    drawn = np.random.default_rng(_DRAW).permutation(len(labelled))[:n]
    return labelled.take(np.sort(drawn))


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
