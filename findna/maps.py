"""A map of an embedding file: its vectors in two dimensions, coloured by a column, as a figure and as a page."""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from findna import phases
from findna.counts import counted
from findna.errors import ConfigError, TableError
from findna.extras import need_sklearn
from findna.io.compressed import ByteStream
from findna.io.reader import EmbeddingReader, require_file
from findna.io.sequence_table import ID_COLUMNS
from findna.plots import COLOURS
from findna.settings import parse_number

NO_LABEL = "no label"

_BLOCK = 4096
_TSNE_COMPONENTS = 50
_MIN_ROWS = 3
_MOST_CLASSES = 11
OTHER = "#b8bcc2"


@dataclass(frozen=True)
class Map:
    """Rows of an embedding file in two dimensions.

    Args:
        points: Shape (n, 2).
        axes: Labels of the two axes.
        columns: The columns of the rows, n values each, `id` first.
        color: The column that colours the points; "" for none.
        n_rows: Rows of the file; more than n if the map shows a sample.
        source: Name of the file.
        model: Name of the model.
    """

    points: NDArray[np.float32]
    axes: tuple[str, str]
    columns: dict[str, NDArray[Any]]
    color: str
    n_rows: int
    source: str
    model: str

    @property
    def title(self) -> str:
        """File, model and number of sequences."""
        n = len(self.points)
        shown = counted(n, "sequence") if n == self.n_rows else f"{n:,} of {counted(self.n_rows, 'sequence')}"
        return f"{self.source}: {shown}, {self.model}"


@dataclass(frozen=True)
class Shown:
    """The rows of an embedding file that a map shows.

    Args:
        rows: Their indices, ascending.
        columns: The columns of these rows, `id` first.
        color: The column that colours the points; "" for none.
    """

    rows: NDArray[np.intp]
    columns: dict[str, NDArray[Any]]
    color: str

    @property
    def n_unlabelled(self) -> int:
        """How many of the points have no label in the column that colours them."""
        values = self.columns[self.color].tolist() if self.color else []
        return sum(value == NO_LABEL or value != value for value in values)  # NaN, if labels are numbers


def choose_rows(
    file: EmbeddingReader, *, color: str = "", labels: Path | None = None, max_points: int = 20_000, seed: int = 0
) -> Shown:
    """The rows that a map shows, with their columns and those of a table of labels.

    Args:
        file: A file of `findna embed`.
        color: A column of the file or of `labels`. "": the labels, else the source or contig if there are several.
        labels: A TSV or CSV of ids (or names) and labels; see `read_labels`.
        max_points: A random sample of this size is shown if the file has more rows.
        seed: Random seed of the sample.

    Raises:
        TableError: The file or the labels cannot be read, or no id is in both.
        ConfigError: The column is not found, or there are fewer than three rows.
    """
    if len(file) < _MIN_ROWS:
        raise ConfigError(f"{file.path}: {counted(len(file), 'row')}; a map needs at least {_MIN_ROWS}")
    rows = np.arange(len(file))
    if len(file) > max_points:
        rows = np.sort(np.random.default_rng(seed).choice(len(file), max_points, replace=False))
    columns = file.read_obs(rows)
    added = match_labels(columns, labels) if labels else {}
    columns |= added
    color = color or _default_color(columns, added)
    if color and color not in columns:
        raise ConfigError(f"color={color}: no such column; there are {', '.join(columns)}")
    if color and is_unset(columns[color]):
        full = ", ".join(name for name, values in columns.items() if not is_unset(values))
        raise ConfigError(
            f"color={color}: the column is empty; choose {full}, or give labels=FILE with columns id and label"
        )
    return Shown(rows, columns, color)


def make_map(file: EmbeddingReader, shown: Shown, *, method: Literal["pca", "tsne"] = "pca", seed: int = 0) -> Map:
    """The map of an embedding file.

    Args:
        file: A file of `findna embed`.
        shown: The rows to show; PCA uses all rows.
        method: Principal components, or t-SNE of the first 50 of them.
        seed: Random seed of t-SNE.

    Raises:
        MissingExtraError: t-SNE is asked for and scikit-learn is not installed.
    """
    n_components = min(2 if method == "pca" else _TSNE_COMPONENTS, file.x.shape[1], len(file) - 1)
    scores, shares = principal_components(file.x, shown.rows, n_components)
    model = str(file.meta.get("model", {}).get("name", ""))
    if method == "pca":
        points, axes = scores, tuple(f"PC{k + 1} ({share:.1%} of the variance)" for k, share in enumerate(shares[:2]))
    else:
        points, axes = tsne(scores, seed=seed), ("t-SNE 1", "t-SNE 2")
    return Map(
        points.astype(np.float32),
        (axes[0], axes[1]),
        shown.columns,
        shown.color,
        len(file),
        file.path.name,
        model,
    )


def principal_components(x: Any, rows: NDArray[np.intp], n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of some rows on the first principal components of all rows, and the fraction of variance of each.

    Args:
        x: Shape (N, D), an array or an h5py dataset; it is read in blocks.
        rows: Ascending indices of the m rows to score.
        n: Number of components, at most D.

    Returns:
        Shape (m, n), and shape (n,). The largest loading of a component is positive.
    """
    first = x[:1].astype(np.float64)  # (1, D); sums of differences from a row keep their precision
    total, gram = np.zeros(x.shape[1]), np.zeros((x.shape[1],) * 2)
    for start in range(0, len(x), _BLOCK):
        block = x[start : start + _BLOCK].astype(np.float64) - first
        total += block.sum(0)
        gram += block.T @ block
    mean = total / len(x)
    variances, axes = np.linalg.eigh(gram / len(x) - np.outer(mean, mean))
    variances, axes = variances[::-1].clip(0), axes[:, ::-1][:, :n]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(n)])
    parts = [x[part].astype(np.float64) - first - mean for part in np.array_split(rows, -(-len(rows) // _BLOCK))]
    return np.concatenate([part @ axes for part in parts]), variances[:n] / max(variances.sum(), 1e-300)


def tsne(scores: NDArray[np.float64], *, seed: int) -> NDArray[np.float64]:
    """t-SNE of principal components, shape (n, 2), started from the first two, so that the seed matters little."""
    need_sklearn("t-SNE")
    phases.enter("t-SNE")
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(scores) - 1) / 3)
    found: NDArray[np.float64] = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(scores)
    return found


def read_labels(path: Path) -> dict[str, dict[str, str]]:
    """The columns of a table of labels: column name to id to label.

    The table is a TSV or CSV. With a header that has a column `id` or `name`, it may have any columns, such as the
    output of `findna classify`. Without one, the columns are id and label.

    Raises:
        TableError: A row has another number of columns than the first, or an id is duplicate.
    """
    require_file(path)
    with ByteStream(path, error=TableError) as stream:
        lines = [raw.decode(errors="replace") for raw in stream.lines()]
        lines = [line for line in lines if line.strip()]
        if not lines:
            stream.fail("the file is empty")
        table = list(csv.reader(lines, delimiter="\t" if "\t" in lines[0] else ","))
        if len(table[0]) < 2:
            stream.fail("expected two columns, id and label, separated by a tab or a comma", line=1)
        header = [cell.strip() for cell in table[0]]
        key = next((header.index(name) for name in ID_COLUMNS if name in header), None)
        if key is None:
            key, header = 0, ["id", "label", *(f"label{k}" for k in range(2, len(header)))]
        else:
            table = table[1:]
            if double := [name for name in header if header.count(name) > 1]:
                count = header.count(double[0])
                stream.fail(f"{count} columns are named {double[0]!r}: rename all but one", line=1)
        if all(_is_bed_row(cells) for cells in table):
            stream.fail("this is a BED file, not a table of labels; color=name takes the names that its regions have")
        columns: dict[str, dict[str, str]] = {name: {} for k, name in enumerate(header) if k != key}
        seen: set[str] = set()
        for number, cells in enumerate(table, start=1):
            if len(cells) != len(header):
                stream.fail(f"row {number} has {counted(len(cells), 'column')}, the first row has {len(header)}")
            if (id := cells[key].strip()) in seen:
                stream.fail(f"row {number}: duplicate id {id!r}")
            seen.add(id)
            for name, cell in zip(header, cells, strict=True):
                if name in columns:
                    columns[name][id] = cell.strip()
    return columns


def _is_bed_row(cells: list[str]) -> bool:
    return len(cells) > 2 and cells[1].isdecimal() and cells[2].isdecimal() and int(cells[1]) < int(cells[2])


def match_labels(columns: dict[str, NDArray[Any]], path: Path) -> dict[str, NDArray[Any]]:
    """The columns of a table of labels that the file does not have, in row order.

    Rows are matched by id, or by name if no id matches. A row without a label has `NO_LABEL`.

    Raises:
        TableError: No row of the table is in the file.
    """
    tables = read_labels(path)
    ids = next(iter(tables.values()))
    key = next((name for name in ID_COLUMNS if any(id in ids for id in columns.get(name, ()))), None)
    if key is None:
        found = f"its first id is {next(iter(ids), '')!r}, that of the embedding file is {columns['id'][0]!r}"
        reason = f"none of its ids is in the embedding file: {found}. A header must have a column `id`"
        raise TableError(reason, path=path)
    return {
        name: _as_numbers([table.get(id, NO_LABEL) for id in columns[key]])
        for name, table in tables.items()
        if name not in columns
    }


def _as_numbers(texts: list[str]) -> NDArray[Any]:
    """Numbers, if all texts are numbers and there are too many for classes; else the texts."""
    known = [text for text in texts if text != NO_LABEL]
    try:
        numbers = [parse_number(text, float) for text in known]
    except ValueError:
        return np.array(texts, dtype=object)
    if len(set(numbers)) <= _MOST_CLASSES:
        return np.array(texts, dtype=object)
    return np.array([np.nan if text == NO_LABEL else float(text) for text in texts])


def _default_color(columns: dict[str, NDArray[Any]], added: dict[str, NDArray[Any]]) -> str:
    if added:
        return "label" if "label" in added else next(iter(added))
    return next((name for name in ("source", "chrom") if len(set(columns[name].tolist())) > 1), "")


def is_numeric(values: NDArray[Any]) -> bool:
    """Whether a column is coloured on a scale rather than by class."""
    return values.dtype.kind in "fiu"


def class_colours(values: NDArray[Any]) -> dict[str, str]:
    """The colour of each class, the most frequent first. Beyond eleven they are grey, as are rows without a label."""
    counts = Counter(map(str, values.tolist()))
    names = sorted(counts, key=lambda name: (name == NO_LABEL, -counts[name], name))
    n_coloured = sum(name != NO_LABEL for name in names[:_MOST_CLASSES])
    return {name: COLOURS[k] if k < n_coloured else OTHER for k, name in enumerate(names)}


def is_unset(values: NDArray[Any]) -> bool:
    """Whether no row has a value, such as coordinates of sequences from FASTA."""
    return set(values.tolist()) in ({""}, {"."}, {-1})


def values_of(name: str, values: NDArray[Any]) -> dict[str, Any]:
    if is_numeric(values):
        numbers = [float(f"{v:.6g}") if isinstance(v, float) else v for v in values.tolist()]
        return {"name": name, "numbers": [v if np.isfinite(v) else None for v in numbers]}
    colours = class_colours(values)
    places = {text: k for k, text in enumerate(colours)}
    return {
        "name": name,
        "classes": list(colours),
        "colours": [colour for colour in colours.values() if colour != OTHER],
        "codes": [places[str(text)] for text in values.tolist()],
    }
