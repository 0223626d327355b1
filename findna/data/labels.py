"""Labels of a table: their objective, classes and names."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findna.counts import counted
from findna.data.labelled_rows import LABEL_COLUMNS, LabelledRow, Problems
from findna.errors import ConfigError, TableError
from findna.io.compressed import ByteStream
from findna.limits import MAX_CLASSES
from findna.settings import parse_number

SEPARATOR = ";"
"""Separates several labels of one sequence; a sequence without labels has an empty cell."""

_N_NAMES = 8
_MISSING = ("nan", "na", "n/a", "#n/a", "null", "<na>")
_MANY = 20


def read_class_names(text: str) -> Mapping[str, str] | tuple[str, ...]:
    """Class names from a file of `label<TAB>name` lines, or from a comma-separated list in label order.

    A first line `label<TAB>...` is a header; further columns are ignored.

    Raises:
        TableError: A line has no name, or a label or name is a duplicate.
        ConfigError: It is neither a file nor a list.
    """
    if not Path(text).is_file():
        names = tuple(name.strip() for name in text.split(","))
        if len(names) < 2 or not all(names) or len(set(names)) < len(names):
            raise ConfigError(
                f"class_names must be a file, or a comma-separated list of two or more different names, not {text!r}"
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
                stream.fail("no name: each line must have a label, a tab and its name", line=line)
            if label in found or name in found.values():
                stream.fail(f"{label if label in found else name!r} is a duplicate", line=line)
            found[label] = name
    return found


def objective_of(labels: list[str]) -> str:
    """The objective inferred from labels."""
    if any(SEPARATOR in label for label in labels):
        return "multilabel"
    found = set(labels)
    values = [value for value in map(_number, found) if math.isfinite(value)]
    is_real = 2 * len(values) > len(found) and any(value != int(value) for value in values)
    return (
        "regression" if is_real else "classification"
    )  # for a regression, `_values` reports the texts among the numbers


def _number(text: str) -> float:
    try:
        return parse_number(text, float)
    except ValueError:
        return math.nan


def labels_of(
    rows: list[LabelledRow],
    objective: str,
    *,
    classes: Sequence[str] | None,
    class_names: Mapping[str, str] | Sequence[str] | None,
    is_asked: bool,
) -> tuple[NDArray[Any], tuple[str, ...], Mapping[str, str]]:
    """Labels for an objective: an array with one entry per row, the classes in order, the name of each label.

    Raises:
        TableError: The labels are not of this objective, or too many, too few or doubtful.
        ConfigError: The class names do not fit the labels.
    """
    if objective == "regression":
        return _values(rows), (), {}
    is_multilabel = objective == "multilabel"
    sets = [_split(row.label) if is_multilabel else (row.label,) for row in rows]
    found = sort_labels({label for labels in sets for label in labels if label})
    _refuse_doubtful(rows, found, is_asked=is_asked)
    names = _names(found, class_names)
    if classes is None:
        _check_number(len(found), rows, n_needed=1 if is_multilabel else 2, only=found[:1])
        order = tuple(dict.fromkeys(names.get(label, label) for label in found))
    else:
        order = tuple(classes)
    if strange := [name for name in order if not name.isprintable()]:
        raise TableError(f"the class {strange[0]!r} is not printable text", path=path_of(rows))
    encoded = _encoded(rows, sets, names, order)
    if not is_multilabel:
        return np.array(encoded, dtype=np.int64).reshape(-1), order, names
    table = np.zeros((len(rows), len(order)), dtype=np.float32)
    for number, labels_of_row in enumerate(encoded):
        table[number, labels_of_row] = 1
    return table, order, names


def _check_number(n: int, rows: list[LabelledRow], *, n_needed: int, only: list[str]) -> None:
    if n < n_needed:
        what = f"the only class is {only[0]}" if only else "no row has a label"
        raise TableError(f"{what}: there must be at least {n_needed}", path=path_of(rows))
    if n > MAX_CLASSES:
        raise TableError(f"{counted(n, 'class')}: is this objective=regression?", path=path_of(rows))


def _encoded(
    rows: list[LabelledRow], sets: list[tuple[str, ...]], names: Mapping[str, str], order: tuple[str, ...]
) -> list[list[int]]:
    """The numbers of the classes of each row."""
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
    return encoded


def _refuse_doubtful(rows: list[LabelledRow], found: list[str], *, is_asked: bool) -> None:
    """Raise if labels are numbers that are unlikely to be classes.

    Raises:
        TableError: Two are one number, as 0 and 0.0; or there are many, they have gaps, and nobody asked for classes.
    """
    numbers: dict[float, str] = {}
    for label in found:
        value = _number(label)
        if math.isfinite(value) and numbers.setdefault(value, label) != label:
            raise TableError(
                f"the labels {numbers[value]} and {label} are the same number: write it in one way", path=path_of(rows)
            )
    has_gaps = bool(numbers) and max(numbers) - min(numbers) >= len(numbers)
    if not is_asked and len(found) > _MANY and len(numbers) == len(found) and has_gaps:
        reason = f"{len(found):,} different numbers as labels: name the objective, regression or classification"
        raise TableError(reason, path=path_of(rows))


def sort_labels(labels: Iterable[str]) -> list[str]:
    """Labels sorted as numbers if all are numbers, else as text.

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


def path_of(rows: list[LabelledRow]) -> str:
    """The files of rows, for an error."""
    return " ".join(dict.fromkeys(row.path for row in rows))
