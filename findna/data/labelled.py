"""Labelled sequences: rows to classes, labels or values; splits that keep identical sequences together."""

import dataclasses
import hashlib
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findna.data.datasets import Corpus, corpus_of
from findna.data.labelled_rows import LabelledRow, holds_records, read_class, read_table
from findna.data.labels import labels_of, objective_of, path_of
from findna.errors import ConfigError, FindnaWarning, InputError
from findna.io.files import sha256
from findna.io.watch import unchanged
from findna.recipes import OBJECTIVES
from findna.sequence import reverse_complement

_MATE = re.compile(r"(?<![A-Za-z0-9])R?[12](?![A-Za-z0-9])")


@dataclass(frozen=True)
class LabelledSet:
    """Sequences and their labels.

    Args:
        corpus: The sequences, as concatenated codes.
        labels: Classification: class of each, shape (n,), int64. Multilabel: 1 for each label that it has,
            shape (n, n_classes), float32. Regression: value of each, shape (n,), float32.
        classes: Names of the classes or labels, in order; () for a regression.
        objective: One of `findna.recipes.OBJECTIVES`.
        ids: Name of each: its column `id` or `name`, else its line.
        lines: 1-based line in its file (in FASTA and BED files, the record number); shape (n,).
        sources: sha256 of each file.
        names: Class name of each label as it was written.
    """

    corpus: Corpus
    labels: NDArray[Any]
    classes: tuple[str, ...]
    objective: str
    ids: tuple[str, ...]
    lines: NDArray[np.int64]
    sources: Mapping[str, str]
    names: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.corpus)

    @property
    def sha256(self) -> str:
        """sha256 of sequences, labels and class names, independent of their source."""
        digest = hashlib.sha256(self.corpus.codes.tobytes())
        digest.update(self.corpus.offsets.tobytes() + self.labels.tobytes() + repr(self.classes).encode())
        return digest.hexdigest()

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> "LabelledSet":
        """The sequences of these indices, in their order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return dataclasses.replace(
            self,
            corpus=corpus_of(self.corpus[index] for index in chosen.tolist()),
            labels=self.labels[chosen],
            ids=tuple(self.ids[index] for index in chosen.tolist()),
            lines=self.lines[chosen],
        )


def read_labelled(
    paths: Sequence[str | Path],
    *,
    objective: str = "",
    genome: str | Path | None = None,
    sequence_column: str = "",
    label_column: str = "",
    classes: Sequence[str] | None = None,
    class_names: Mapping[str, str] | Sequence[str] | None = None,
) -> LabelledSet:
    """Read and check all labelled sequences.

    Args:
        paths: Tables (comma or tab separated, with a header), read as one; or one FASTA or BED file per class, named
            after its class. All may be compressed.
        objective: One of `OBJECTIVES`, or "" to infer it from the labels: multilabel if one contains ";", regression
            if most are numbers and one is not a whole number (another label is then an error), else
            classification.
        genome: FASTA or .2bit of the BED files.
        sequence_column: Name of the column with the bases, if it is not in `SEQUENCE_COLUMNS`.
        label_column: Name of the column with the labels, if it is not in `LABEL_COLUMNS`.
        classes: Classes of the training split, in order; another label is an error.
        class_names: Name of each label, or all names in the order of the labels.

    Raises:
        TableError: A table is damaged, has no such columns, or rows of it cannot be used.
        InputError: A FASTA, BED or genome file is invalid.
        ConfigError: The files cannot be combined, or there is no such objective.
    """
    files = [str(path) for path in paths]
    if not files:
        raise ConfigError("give a file of labelled sequences")
    if objective not in ("", *OBJECTIVES):
        raise ConfigError(f"objective must be one of {', '.join(OBJECTIVES)}, not {objective!r}")
    is_records = [holds_records(path) for path in files]
    if is_records[0] and (repeated := [path for path in files if files.count(path) > 1]):
        raise ConfigError(f"{repeated[0]} is named twice; each file is one class")
    if is_records[0] and (mates := _mates(files)):
        raise ConfigError(f"{mates[0]} and {mates[1]} are the mates of one set of reads, not two classes")
    if any(is_records) and not all(is_records):
        raise ConfigError("give tables, or FASTA and BED files, not both")
    rows: list[LabelledRow] = []
    with unchanged([*files, *([genome] if genome else [])]):
        for path in files:
            rows += read_class(path, genome) if is_records[0] else read_table(path, sequence_column, label_column)
        sources = {path: sha256(Path(path)) for path in files}
    kind = objective or objective_of([row.label for row in rows])
    if is_records[0] and kind != "classification":
        raise ConfigError(f"one FASTA or BED file per class is a classification, not {kind}")
    is_asked = bool(objective or class_names or classes)
    labels, found, names = labels_of(rows, kind, classes=classes, class_names=class_names, is_asked=is_asked)
    if kind != "regression":
        _warn_of_two_labels(rows)
    return LabelledSet(
        corpus=corpus_of(row.codes for row in rows),
        labels=labels,
        classes=found,
        objective=kind,
        ids=tuple(row.id for row in rows),
        lines=np.array([row.line for row in rows], dtype=np.int64),
        sources=sources,
        names=names,
    )


def warn_of_shared(train: LabelledSet, other: LabelledSet) -> None:
    """Warn about sequences of another split that are also in the training split."""
    known = {_digest(train.corpus[index]) for index in range(len(train))}
    n_shared = sum(_digest(other.corpus[index]) in known for index in range(len(other)))
    if n_shared:
        warnings.warn(
            f"{' '.join(other.sources)}: {n_shared:,} of {len(other):,} sequences are also in the training split, so "
            "its metrics are too optimistic (findna data audit lists them)",
            FindnaWarning,
            stacklevel=2,
        )


def split_off(labelled: LabelledSet, *, fraction: float, seed: int) -> tuple[LabelledSet, LabelledSet]:
    """(train, valid): a stratified split; both keep the order of the input.

    Identical sequences and reverse complements of each other stay in the same split. Strata are the classes, the sets
    of labels, or the deciles of the values.

    Args:
        labelled: What to split.
        fraction: Fraction of sequences in valid, between 0 and 1.
        seed: Of the draw.

    Raises:
        ConfigError: The fraction is not within 0 to 1.
        InputError: There are too few different sequences for two sides.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"valid_fraction must lie between 0 and 1, not {fraction:g}")
    groups: dict[bytes, list[int]] = {}
    for index in range(len(labelled)):
        codes = labelled.corpus[index]
        groups.setdefault(min(codes.tobytes(), reverse_complement(codes).tobytes()), []).append(index)
    strata: dict[Any, list[list[int]]] = {}
    keys = _strata(labelled)
    for members in groups.values():
        strata.setdefault(keys[members[0]], []).append(members)
    rng = np.random.default_rng((seed, len(labelled)))
    held: list[int] = []
    for key in sorted(strata):
        found = strata[key]
        n_wanted = max(1.0, fraction * sum(map(len, found))) if len(found) > 1 else 0
        n_held = 0
        for which in rng.permutation(len(found))[:-1].tolist():
            if n_held + len(found[which]) / 2 > n_wanted:
                break
            held += found[which]
            n_held += len(found[which])
        if (
            not n_held and len(found) > 1
        ):  # sequences with many copies come first: the class still needs a held-out sequence
            held += sorted(found, key=len)[0]
    if not held:
        raise InputError(
            f"{len(groups)} different sequences are too few to split off {fraction:g} of them for validation; "
            "give a file of the validation split"
        )
    is_held = np.zeros(len(labelled), dtype=np.bool_)
    is_held[held] = True
    return labelled.take(np.flatnonzero(~is_held)), labelled.take(np.flatnonzero(is_held))


def _strata(labelled: LabelledSet) -> list[Any]:
    if labelled.objective == "regression":
        edges = np.quantile(labelled.labels, np.arange(1, 10) / 10)
        return np.searchsorted(edges, labelled.labels).tolist()  # type: ignore[no-any-return]
    if labelled.objective == "multilabel":
        return [tuple(row) for row in labelled.labels.tolist()]
    return labelled.labels.tolist()  # type: ignore[no-any-return]


def _warn_of_two_labels(rows: list[LabelledRow]) -> None:
    """Warn about sequences that have different labels in different rows."""
    labels: dict[bytes, dict[str, int]] = {}
    for row in rows:
        labels.setdefault(_digest(row.codes), {}).setdefault(row.label, row.line)
    if doubtful := [found for found in labels.values() if len(found) > 1]:
        (one, at), (other, there), *_ = doubtful[0].items()
        warnings.warn(
            f"{path_of(rows)}: {len(doubtful):,} of {len(labels):,} different sequences have more than one label; the "
            f"first: {one} in line {at}, {other} in line {there}",
            FindnaWarning,
            stacklevel=3,
        )


def _digest(codes: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(codes.tobytes(), digest_size=16).digest()


def _mates(files: Sequence[str]) -> tuple[str, str] | None:
    """Two FASTQ files whose names differ only in R1 and R2, or in 1 and 2.

    >>> _mates(["a_R1.fastq.gz", "a_R2.fastq.gz"]), _mates(["class1.fa", "class2.fa"])
    (('a_R1.fastq.gz', 'a_R2.fastq.gz'), None)
    """
    seen: dict[str, str] = {}
    for path in files:
        bare = path.lower().removesuffix(".gz").removesuffix(".bgz")
        if bare.endswith((".fq", ".fastq")):
            first = seen.setdefault(_MATE.sub("", Path(path).name.replace("_", " ")), path)
            if first != path:
                return first, path
    return None
