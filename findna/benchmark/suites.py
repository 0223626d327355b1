"""Benchmark suites (GUE, GenomicBenchmarks, MTcDNA, any folder): where their sets are on disk, and their classes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from findna.benchmark.intervals import genomic_benchmarks
from findna.benchmark.splits import (
    DRAW,
    ENDINGS,
    VALID_FRACTION,
    BenchmarkTask,
    Skipped,
    Splits,
    below,
    header_of,
    read_one_table,
    read_tables,
    table_of,
)
from findna.data.datasets import corpus_of
from findna.data.labelled import LabelledSet, read_labelled, split_off
from findna.errors import ConfigError, InputError, did_you_mean

MTCDNA_LENGTHS = (1024, 4096, 8192)
_FASTA = (".fa", ".fasta", ".fna", ".fa.gz", ".fasta.gz", ".fna.gz")


def find_tasks(
    suite: str, folder: Path, *, only: Sequence[str] = (), genomes: Mapping[str, Path] | None = None
) -> tuple[list[BenchmarkTask], list[Skipped]]:
    """The sets of a suite in a folder, by name, and those that cannot be used.

    Args:
        suite: gue, genomic-benchmarks, mtcdna or csv.
        folder: The folder with the sets.
        only: Names of the sets to use; (): all.
        genomes: genomic-benchmarks: genome of each species, as in its metadata.yaml (`homo_sapiens`).

    Raises:
        ConfigError: No such suite, or no such set in it.
        InputError: The folder holds none.
    """
    finders = {"gue": _gue, "genomic-benchmarks": genomic_benchmarks, "mtcdna": _mtcdna, "csv": _csv}
    if suite not in finders:
        raise ConfigError(f"suite {suite!r} is not known: {', '.join(finders)}")
    if not folder.is_dir():
        raise InputError("is not a folder" if folder.exists() else "no such folder", path=folder)
    found = list(finders[suite](folder, genomes or {}))
    if not found:
        raise InputError(f"holds no set of {suite}; expected {LAYOUTS[suite]}", path=folder)
    names = [item.name for item in found]
    for name in only:
        if name not in names:
            raise ConfigError(f"{folder} has no set {name}{did_you_mean(name, names)} (there are {', '.join(names)})")
    wanted = [item for item in found if not only or item.name in only]
    return [i for i in wanted if isinstance(i, BenchmarkTask)], [i for i in wanted if isinstance(i, Skipped)]


LAYOUTS = {
    "gue": "nested folders with train, dev and test as .csv or .csv.gz (sequence,label)",
    "genomic-benchmarks": "that project's datasets/: SET/metadata.yaml and SET/{train,test}/CLASS.csv.gz",
    "mtcdna": "one folder per class (mouse/, turtle/) with cDNA of its species as FASTA, or train, dev and test tables",
    "csv": "folders with train, dev (or valid) and test tables, or tables with a column split",
}
"""The files that each suite looks for."""


def _gue(folder: Path, genomes: Mapping[str, Path]) -> Iterator[BenchmarkTask | Skipped]:
    yield from _table_folders("gue", folder)


def _csv(folder: Path, genomes: Mapping[str, Path]) -> Iterator[BenchmarkTask | Skipped]:
    yield from _table_folders("csv", folder)
    for path in sorted(folder.iterdir()):
        if path.name.endswith(ENDINGS) and "split" in header_of(path):
            name = path.name.partition(".")[0]
            yield BenchmarkTask("csv", name, "", False, partial(read_one_table, path))


def _table_folders(suite: str, folder: Path) -> Iterator[BenchmarkTask | Skipped]:
    for place in sorted({path.parent for path in below(folder, "test.*") if path.name.endswith(ENDINGS)}):
        name = place.relative_to(folder).as_posix()
        name = folder.resolve().name if name == "." else name
        test, train = table_of(place, "test"), table_of(place, "train")
        valid = table_of(place, "dev") or table_of(place, "valid")
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
        load = partial(read_tables, train, valid, test or place)
        yield BenchmarkTask(suite, name, note, suite == "gue" and not note, load)


def _mtcdna(folder: Path, genomes: Mapping[str, Path]) -> Iterator[BenchmarkTask | Skipped]:
    classes = {place.name: _fastas(place) for place in sorted(folder.iterdir()) if place.is_dir()}
    classes = {name: paths for name, paths in classes.items() if paths}
    train, test = table_of(folder, "train"), table_of(folder, "test")
    load: Callable[[int], Splits]
    if train and test:
        load, split = partial(_read_cropped, train, table_of(folder, "dev"), test), "the split is your own"
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
    splits = read_tables(train, valid, test)
    return Splits(_crop(splits.train, length), splits.valid and _crop(splits.valid, length), _crop(splits.test, length))


def _read_classes(classes: Mapping[str, Sequence[Path]], length: int) -> Splits:
    paths = [path for found in classes.values() for path in found]
    names: dict[str, str] = {}
    for name, found in classes.items():
        for path in found:
            if names.setdefault(path.name.removesuffix(".gz").rpartition(".")[0], name) != name:
                raise InputError("a file of another class has the same name: rename one", path=path)
    # Cropped before the split, because transcripts of a gene begin alike.
    whole = _crop(read_labelled(paths, class_names=names), length)
    train, test = split_off(whole, fraction=VALID_FRACTION, seed=DRAW)
    return Splits(train, None, test)


def _crop(labelled: LabelledSet, length: int) -> LabelledSet:
    return replace(labelled, corpus=corpus_of(labelled.corpus[i][:length] for i in range(len(labelled))))
