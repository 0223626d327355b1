"""Labelled sequences: rows to classes, labels or values, and splits that keep what is the same on one side."""

import dataclasses
import hashlib
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findna.data.datasets import Corpus, corpus_of
from findna.data.labelled_rows import LABEL_COLUMNS, LabelledRow, Problems, holds_records, read_class, read_table
from findna.errors import ConfigError, FindnaWarning, InputError, TableError
from findna.io.compressed import ByteStream
from findna.io.files import sha256
from findna.io.watch import unchanged
from findna.limits import MAX_CLASSES
from findna.recipes import OBJECTIVES
from findna.sequence import reverse_complement

SEPARATOR = ";"
"""Between the labels of a sequence that has several; none at all is an empty cell."""

_N_NAMES = 8
_MISSING = ("nan", "na", "n/a", "#n/a", "null", "<na>")
_MANY = 20
_MATE = re.compile(r"(?<![A-Za-z0-9])R?[12](?![A-Za-z0-9])")


@dataclass(frozen=True)
class LabelledSet:
    """Sequences and what is known of each.

    Args:
        corpus: The sequences, codes end to end.
        labels: Classification: class of each, shape (n,), int64. Multilabel: 1 for each label that it has,
            shape (n, n_classes), float32. Regression: value of each, shape (n,), float32.
        classes: Names of the classes or labels, in order; () for a regression.
        objective: One of `findna.recipes.OBJECTIVES`.
        ids: Name of each: its column `id` or `name`, else its line.
        lines: Line in its file (of a FASTA or BED file the number of the record), from 1 on; shape (n,).
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
        """Of sequences, labels and class names, wherever they were read from."""
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
    """Read labelled sequences whole and check them.

    Args:
        paths: Tables (comma or tab separated, with a header), read as one; or one FASTA or BED file per class, whose
            class is its name without the endings. All may be compressed.
        objective: One of `OBJECTIVES`, or "" to take it from the labels: multilabel where one holds a ";",
            regression where most are numbers and one is not a whole number (all others are then faults), else
            classification.
        genome: FASTA or .2bit that BED files are on.
        sequence_column: Name of the column with the bases, where it is none of `SEQUENCE_COLUMNS`.
        label_column: Name of the column with the labels, where it is none of `LABEL_COLUMNS`.
        classes: Classes of the training split, in their order; a label that is none of them is an error.
        class_names: Name of each label, or the names of all of them in the order of the labels.

    Raises:
        TableError: A table is damaged, has no such columns, or rows of it cannot be used.
        InputError: A FASTA, BED or genome file is invalid.
        ConfigError: Files do not go together, or the objective is none.
    """
    files = [str(path) for path in paths]
    if not files:
        raise ConfigError("no file of labelled sequences is named")
    if objective not in ("", *OBJECTIVES):
        raise ConfigError(f"objective must be one of {', '.join(OBJECTIVES)}, not {objective!r}")
    is_records = [holds_records(path) for path in files]
    if is_records[0] and (mates := _mates(files)):
        raise ConfigError(f"{mates[0]} and {mates[1]} are the mates of one set of reads, not two classes")
    if any(is_records) and not all(is_records):
        raise ConfigError("tables and FASTA or BED files do not go together: give one or the other")
    rows: list[LabelledRow] = []
    with unchanged([*files, *([genome] if genome else [])]):
        for path in files:
            rows += read_class(path, genome) if is_records[0] else read_table(path, sequence_column, label_column)
        sources = {path: sha256(Path(path)) for path in files}
    kind = objective or _objective_of([row.label for row in rows])
    if is_records[0] and kind != "classification":
        raise ConfigError(f"one FASTA or BED file per class is a classification, not {kind}")
    is_asked = bool(objective or class_names or classes)
    labels, found, names = _labels_of(rows, kind, classes=classes, class_names=class_names, is_asked=is_asked)
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
    """Warn, with their number, of sequences of another split that are in the training split."""
    known = {_digest(train.corpus[index]) for index in range(len(train))}
    n_shared = sum(_digest(other.corpus[index]) in known for index in range(len(other)))
    if n_shared:
        warnings.warn(
            f"{' '.join(other.sources)}: {n_shared:,} of {len(other):,} sequences are in the training split, too, so "
            "its figures are too good (findna data audit lists them)",
            FindnaWarning,
            stacklevel=2,
        )


def split_off(labelled: LabelledSet, *, fraction: float, seed: int) -> tuple[LabelledSet, LabelledSet]:
    """(train, valid): a stratified share is split off; both keep the order of the input.

    Identical sequences, and reverse complements of each other, stay on one side. Strata are the classes, the sets of
    labels, or the tenths of the values.

    Args:
        labelled: What to split.
        fraction: Share of valid, within 0 to 1.
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
        if not n_held and len(found) > 1:  # many copies come first: the class still needs a held-out sequence
            held += sorted(found, key=len)[0]
    if not held:
        raise InputError(
            f"{len(groups)} different sequences are too few to split off {fraction:g} of them for validation; "
            "give a file of the validation split"
        )
    is_held = np.zeros(len(labelled), dtype=np.bool_)
    is_held[held] = True
    return labelled.take(np.flatnonzero(~is_held)), labelled.take(np.flatnonzero(is_held))


def read_class_names(text: str) -> Mapping[str, str] | tuple[str, ...]:
    """Class names as the command line has them: a file of `label<TAB>name` lines, or a comma list in label order.

    A first line `label<TAB>...` is a header; further columns are ignored.

    Raises:
        TableError: A line has no name, or a label or name is a duplicate.
        ConfigError: It is neither a file nor a list.
    """
    if not Path(text).is_file():
        names = tuple(name.strip() for name in text.split(","))
        if len(names) < 2 or not all(names) or len(set(names)) < len(names):
            raise ConfigError(
                f"class_names must be a file, or a comma list of two or more different names, not {text!r}"
            )
        return names
    found: dict[str, str] = {}
    with ByteStream(text, error=TableError) as stream:
        for line, raw in enumerate(stream.lines(), start=1):
            label, *others = (cell.strip() for cell in raw.decode(errors="backslashreplace").split("\t"))
            if not label or (line == 1 and label.lower() in LABEL_COLUMNS):
                continue
            name = others[0] if others else ""
            if not name:
                stream.fail("no name: a line is a label, a tab and its name", line=line)
            if label in found or name in found.values():
                stream.fail(f"{label if label in found else name!r} is a duplicate", line=line)
            found[label] = name
    return found


def _strata(labelled: LabelledSet) -> list[Any]:
    if labelled.objective == "regression":
        edges = np.quantile(labelled.labels, np.arange(1, 10) / 10)
        return np.searchsorted(edges, labelled.labels).tolist()  # type: ignore[no-any-return]
    if labelled.objective == "multilabel":
        return [tuple(row) for row in labelled.labels.tolist()]
    return labelled.labels.tolist()  # type: ignore[no-any-return]


def _objective_of(labels: list[str]) -> str:
    if any(SEPARATOR in label for label in labels):
        return "multilabel"
    found = set(labels)
    values = [value for value in map(_number, found) if math.isfinite(value)]
    is_real = 2 * len(values) > len(found) and any(value != int(value) for value in values)
    return "regression" if is_real else "classification"  # of a regression, `_values` names the words among the numbers


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _labels_of(
    rows: list[LabelledRow],
    objective: str,
    *,
    classes: Sequence[str] | None,
    class_names: Mapping[str, str] | Sequence[str] | None,
    is_asked: bool,
) -> tuple[NDArray[Any], tuple[str, ...], Mapping[str, str]]:
    if objective == "regression":
        return _values(rows), (), {}
    is_multilabel = objective == "multilabel"
    sets = [_split(row.label) if is_multilabel else (row.label,) for row in rows]
    found = sort_labels({label for labels in sets for label in labels if label})
    _refuse_doubtful(rows, found, is_asked=is_asked)
    names = _names(found, class_names)
    if classes is None:
        n_needed = 1 if is_multilabel else 2
        if len(found) < n_needed:
            what = f"the only class is {found[0]}" if found else "no row has a label"
            raise TableError(f"{what}: there must be at least {n_needed}", path=_path_of(rows))
        if len(found) > MAX_CLASSES:
            raise TableError(f"{len(found):,} classes: is this objective=regression?", path=_path_of(rows))
        order = tuple(dict.fromkeys(names.get(label, label) for label in found))
    else:
        order = tuple(classes)
    index = {name: number for number, name in enumerate(order)}
    encoded: list[list[int]] = []
    by_file = {path: Problems(path) for path in dict.fromkeys(row.path for row in rows)}
    for row, labels in zip(rows, sets, strict=True):
        unknown = [label for label in labels if names.get(label, label) not in index]
        if any(label.lower() in _MISSING for label in labels):
            by_file[row.path].add(row.line, f"the label is missing ({row.label})")
        elif unknown == [""]:
            by_file[row.path].add(row.line, "the label is empty")
        elif unknown:
            known = ", ".join(order[:_N_NAMES]) + (", ..." if len(order) > _N_NAMES else "")
            by_file[row.path].add(row.line, f"class {unknown[0]} is not in the training split, which has {known}")
        encoded.append([index.get(names.get(label, label), -1) for label in labels])
    for path, problems in by_file.items():
        problems.raise_if_any(sum(row.path == path for row in rows))
    if not is_multilabel:
        return np.array(encoded, dtype=np.int64).reshape(-1), order, names
    table = np.zeros((len(rows), len(order)), dtype=np.float32)
    for number, labels_of_row in enumerate(encoded):
        table[number, labels_of_row] = 1
    return table, order, names


def _refuse_doubtful(rows: list[LabelledRow], found: list[str], *, is_asked: bool) -> None:
    """Raise where labels are numbers and are unlikely to be classes.

    Raises:
        TableError: Two are one number, as 0 and 0.0; or there are many, they have gaps, and nobody asked for classes.
    """
    numbers: dict[float, str] = {}
    for label in found:
        value = _number(label)
        if math.isfinite(value) and numbers.setdefault(value, label) != label:
            raise TableError(
                f"the labels {numbers[value]} and {label} are one number: write it one way", path=_path_of(rows)
            )
    has_gaps = bool(numbers) and max(numbers) - min(numbers) >= len(numbers)
    if not is_asked and len(found) > _MANY and len(numbers) == len(found) and has_gaps:
        reason = f"{len(found):,} different numbers as labels: name the objective, regression or classification"
        raise TableError(reason, path=_path_of(rows))


def _warn_of_two_labels(rows: list[LabelledRow]) -> None:
    """Warn, with their number, of sequences that have one label in one row and another in another."""
    labels: dict[bytes, dict[str, int]] = {}
    for row in rows:
        labels.setdefault(_digest(row.codes), {}).setdefault(row.label, row.line)
    if doubtful := [found for found in labels.values() if len(found) > 1]:
        (one, at), (other, there), *_ = doubtful[0].items()
        warnings.warn(
            f"{_path_of(rows)}: {len(doubtful):,} of {len(labels):,} different sequences have more than one label; the "
            f"first: {one} in line {at}, {other} in line {there}",
            FindnaWarning,
            stacklevel=3,
        )


def _digest(codes: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(codes.tobytes(), digest_size=16).digest()


def _mates(files: Sequence[str]) -> tuple[str, str] | None:
    """Two files whose names differ only in R1 and R2, or 1 and 2, and end as FASTQ.

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


def sort_labels(labels: Iterable[str]) -> list[str]:
    """Labels in their order: as numbers where all are numbers, else as text.

    >>> sort_labels(["10", "9"]), sort_labels(["b", "10", "9"])
    (['9', '10'], ['10', '9', 'b'])
    """
    found = set(labels)
    if all(math.isfinite(_number(label)) for label in found):
        return sorted(found, key=lambda label: (_number(label), label))
    return sorted(found)


def _split(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(SEPARATOR) if part.strip()))


def _names(found: list[str], class_names: Mapping[str, str] | Sequence[str] | None) -> dict[str, str]:
    if class_names is None:
        return {label: label for label in found}
    if isinstance(class_names, Mapping):
        return dict(class_names)
    if len(class_names) != len(found):
        raise ConfigError(f"{len(class_names)} class names for {len(found)} labels: {', '.join(found[:_N_NAMES])}")
    return dict(zip(found, class_names, strict=True))


def _values(rows: list[LabelledRow]) -> NDArray[np.float32]:
    values = np.array([_number(row.label) for row in rows], dtype=np.float64)
    for path, group in groupby(rows, key=lambda row: row.path):
        members = list(group)
        problems = Problems(path)
        for row in members:
            if not math.isfinite(_number(row.label)):
                found = f"label {row.label!r} is not a finite number, as a regression needs"
                problems.add(row.line, f"{found}; choose another objective=NAME")
        problems.raise_if_any(len(members))
    return values.astype(np.float32)


def _path_of(rows: list[LabelledRow]) -> str:
    return " ".join(dict.fromkeys(row.path for row in rows))
