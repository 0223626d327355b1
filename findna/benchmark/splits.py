"""A set of a suite and its splits; the reason why a set is skipped."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from glob import glob
from pathlib import Path
from typing import NamedTuple

import numpy as np

from findna.data.labelled import LabelledSet, read_labelled, split_off
from findna.errors import TableError
from findna.io.compressed import ByteStream

VALID_FRACTION = 0.1


class Splits(NamedTuple):
    """The data of a set.

    Args:
        train: Training split.
        valid: Validation split; None if the set has none. Then each seed splits off a tenth of `train`.
        test: Scored once, at the end.
    """

    train: LabelledSet
    valid: LabelledSet | None
    test: LabelledSet

    def limited(self, n_train: int, n_test: int) -> "Splits":
        """The same with a maximum number of sequences; 0: all. The draw does not depend on a run's seed."""
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
        note: A caveat for readers of its figures, or "".
        is_comparable: Whether published figures may be printed beside its own, with the note.
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


def _limited(labelled: LabelledSet, n: int) -> LabelledSet:
    if not n or len(labelled) <= n:
        return labelled
    drawn = np.random.default_rng(DRAW).permutation(len(labelled))[:n]
    return labelled.take(np.sort(drawn))


ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")

DRAW = 20240513


def below(folder: Path, pattern: str) -> list[Path]:
    """Files below a folder, also in symbolically linked folders, which `Path.rglob` skips."""
    return [folder / name for name in glob(f"**/{pattern}", root_dir=folder, recursive=True)]  # noqa: PTH207


def table_of(folder: Path, split: str) -> Path | None:
    """The table of a split in a folder, such as dev.csv; None if there is none."""
    return next((folder / f"{split}{end}" for end in ENDINGS if (folder / f"{split}{end}").is_file()), None)


def read_tables(train: Path, valid: Path | None, test: Path) -> Splits:
    """The splits of a set with one table each; classes are those of the training split.

    Raises:
        TableError: A table is damaged, or has a class that the training split does not have.
    """
    read = partial(read_labelled, objective="classification")
    first = read([train])
    return Splits(first, read([valid], classes=first.classes) if valid else None, read([test], classes=first.classes))


def header_of(path: Path) -> list[str]:
    """The column names of a table, separated by tabs or commas.

    Raises:
        TableError: It cannot be read.
    """
    with ByteStream(path, error=TableError) as stream:
        first = next(stream.lines(), b"").decode(errors="replace")
    return first.strip().split("\t" if "\t" in first else ",")


def read_one_table(path: Path) -> Splits:
    """The splits of a set in one table, whose column `split` is train, dev (or valid), or test.

    Raises:
        TableError: The table is damaged, or has no training or no test rows.
    """
    whole = read_labelled([path], objective="classification")
    with ByteStream(path, error=TableError) as stream:
        lines = [line.decode(errors="replace") for line in stream.lines()]
    column = header_of(path).index("split")
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
