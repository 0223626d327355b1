"""Figures: training curve, comparison, masked-base accuracy by position, curves of a pretraining."""

import itertools
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from findna import phases
from findna.errors import ConfigError
from findna.extras import need
from findna.io.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


FORMATS = (".png", ".svg", ".pdf")
_DPI = 300  # as journals require
_LONGEST_NAME = 18
INK, BLUE, ORANGE, GREY = "#222222", "#2166ac", "#d6604d", "#999999"
COLOURS = (  # distinguishable with every kind of colour vision (Okabe and Ito), then lighter tints of the same hues
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
    "#6f4e7c", "#8c8c00", "#8b4513", "#7fc8a9", "#f2a68a",
)  # fmt: skip


def training_curve(rows: Sequence[Mapping[str, Any]], path: Path, *, title: str = "", note: str = "") -> None:
    """Draw `loss` and `valid_loss` of a training's log by `epoch` (else `step`); the best `valid_loss` is marked.

    Args:
        rows: Lines of log.csv; a value that is missing or "" is skipped.
        path: The PNG file.
        title: Above the figure.
        note: After the word "loss" of its axis.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    figure, axes = one_figure(5.2, 3.4)
    x_name = "epoch" if any("epoch" in row for row in rows) else "step"
    for name, label, color in (("loss", "training", GREY), ("valid_loss", "validation", BLUE)):
        points = [(float(row[x_name]), float(row[name])) for row in rows if row.get(name) not in (None, "")]
        if not points:
            continue
        x, y = zip(*points, strict=True)
        axes.plot(x, y, color=color, label=label, marker="o" if len(points) <= 30 else "", markersize=3)
        if name == "valid_loss":
            best = int(np.argmin(y))
            axes.plot(x[best], y[best], "o", color=ORANGE, markersize=6, label=f"best: {y[best]:.4f}")
    if penalties := [(float(row[x_name]), row["penalty"]) for row in rows if row.get("penalty") not in (None, "")]:
        axes.set_xticks([x for x, _ in penalties], [f"{float(penalty):g}" for _, penalty in penalties])
        x_name = "penalty"
    else:
        axes.locator_params(axis="x", integer=True)
    axes.set(xlabel=x_name, ylabel=f"loss{note}", title=title)
    axes.legend(frameon=False)
    save_figure(figure, path)


def comparison(
    rows: Mapping[str, Sequence[float | None]], columns: Sequence[str], *, is_quoted: Sequence[bool], label: str
) -> str:
    """A figure of a table as SVG: a line per row, a dot per column; quoted values are hollow.

    Args:
        rows: Values by the name of the row, one per column; None if missing.
        columns: Names of the columns.
        is_quoted: Whether the values of a column are quoted, not measured.
        label: Label of the values.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure, axes = one_figure(8.4, 1.2 + 0.34 * len(rows) + 0.18 * len(columns) / 3)
    names = list(rows)
    places = np.arange(len(names))[::-1]
    for k, (column, quoted) in enumerate(zip(columns, is_quoted, strict=True)):
        points = [
            (value, y) for y, value in zip(places, (rows[name][k] for name in names), strict=True) if value is not None
        ]
        if points:
            color = COLOURS[k % len(COLOURS)]
            x, y = zip(*points, strict=True)
            face = "none" if quoted else color
            axes.scatter(x, y, label=column, edgecolors=color, facecolors=face, s=34, marker="D" if quoted else "o")
    axes.set_yticks(places, names, fontsize=8)
    axes.set(xlabel=label, ylim=(-0.6, len(names) - 0.4))
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def accuracy_by_position(
    starts: Sequence[int], shares: Mapping[str, Sequence[float]], path: Path, *, title: str = ""
) -> None:
    """Draw the masked-base accuracy of models along a window.

    Args:
        starts: First base of each bin.
        shares: Accuracies of each model, by its name in the legend; the first is drawn in colour.
        path: The PNG file.
        title: Above the figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    figure, axes = one_figure(6.4, 3.4)
    styles = [(BLUE, "-"), (ORANGE, "-"), (INK, "--"), (GREY, "-"), (GREY, ":")]
    for (name, values), (color, line) in zip(shares.items(), itertools.cycle(styles)):
        axes.plot(starts, values, color=color, linestyle=line, linewidth=1.2, label=name)
    axes.set(xlabel="position in the window, bases", ylabel="masked-base accuracy", title=title)
    axes.margins(y=0.3)  # room for the legend
    axes.legend(frameon=False, fontsize=8, ncols=2)
    save_figure(figure, path)


def pretraining_curves(rows: Sequence[Mapping[str, float]], path: Path, *, title: str = "") -> None:
    """Draw the held-out metrics of a pretraining: losses, masked bases, effective rank, student and teacher.

    A run without distillation has no contrast, and its student and teacher are the same network. Then the figure
    has no curve of the contrast, of the agreement or of the teacher's entropy.

    Args:
        rows: Lines of log.csv; those without a held-out figure are skipped.
        path: The PNG file.
        title: Above the figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: The file cannot be written.
    """
    curves = {
        "loss, nats": {"valid_mnm_loss": "masked bases"},
        "masked-base accuracy": {"valid_accuracy": "student", "kmer_accuracy": "7-mer table"},
        "effective rank": {"effective_rank": "class tokens"},
    }
    if any(row.get("valid_contrastive_loss", np.nan) > 0 for row in rows):
        curves["loss, nats"]["valid_contrastive_loss"] = "contrast"
        curves["cosine or nats"] = {"agreement": "agreement (cosine)", "teacher_entropy": "teacher entropy (nats)"}
        figure, grid = panels(8.4, 5.6, n_rows=2, n_columns=2)
    else:
        figure, grid = panels(10.5, 2.8, n_columns=3)
    for axes, (label, columns) in zip(grid, curves.items(), strict=True):
        for (column, name), color in zip(columns.items(), (BLUE, ORANGE), strict=False):
            points = [(row["n_bases"] / 1e6, row[column]) for row in rows if not np.isnan(row.get(column, np.nan))]
            if points:
                axes.plot(*zip(*points, strict=True), color=color, marker="o", markersize=3, label=name)
        axes.set(xlabel="bases seen, millions", ylabel=label)
        axes.locator_params(axis="x", nbins=4)
        if axes.lines:
            axes.legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    save_figure(figure, path)


def require_figure(path: Path, *, hint: str = "") -> None:
    """Raise a ConfigError if the ending of a name is not that of a figure."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"{path}: a figure is one of {', '.join(FORMATS)}{hint}")


def one_figure(width: float, height: float) -> "tuple[Figure, Axes]":
    figure, grid = panels(width, height)
    return figure, grid[0]


def panels(width: float, height: float, *, n_rows: int = 1, n_columns: int = 1) -> "tuple[Figure, list[Axes]]":
    """An empty figure, its size in inches, and its axes.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = need("matplotlib.figure", extra="plot", purpose="a figure").figure.Figure(
        figsize=(width, height), layout="constrained"
    )
    grid = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(10)
    return figure, grid


def shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def save_figure(figure: "Figure", path: Path, *, note: str = "") -> None:
    """Write a figure as PNG, SVG or PDF, by its file name. The same figure has the same bytes; text in a PDF is text.

    Args:
        figure: The figure.
        path: The file.
        note: A text for the metadata of the file.

    Raises:
        OutputError: It cannot be written.
    """
    from matplotlib import rc_context

    phases.enter(f"drawing {path.name}")
    ending = path.suffix[1:].lower()
    fixed: dict[str, dict[str, Any]] = {
        "png": {"Software": "findna"},
        "svg": {"Date": None},
        "pdf": {"CreationDate": None},
    }
    metadata = fixed[ending] | ({"Keywords" if ending == "pdf" else "Description": note} if note else {})
    with rc_context({"pdf.fonttype": 42, "svg.hashsalt": "findna"}), replacing(path) as temp:
        figure.savefig(temp, format=ending, dpi=_DPI, metadata=metadata)
