"""Draws maps: a figure, an HTML page."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from findna import __version__
from findna.io.files import replacing
from findna.maps import NO_LABEL, OTHER, Map, class_colours, is_numeric, is_unset, values_of
from findna.plots import COLOURS, panels, require_figure, save_figure

_LEGEND: dict[str, Any] = {
    "loc": "upper left",
    "bbox_to_anchor": (1.01, 1),
    "borderaxespad": 0,
    "frameon": False,
    "fontsize": 8,
    "title_fontsize": 9,
    "alignment": "left",
}
_PAGE = Path(__file__).with_name("map.html")


def check_figure(path: Path) -> None:
    """Raise if no figure can be written to this path.

    Raises:
        ConfigError: The ending is not that of a figure.
        MissingExtraError: matplotlib is not installed.
    """
    require_figure(path, hint="; html=FILE writes a page")
    panels(1, 1)


def draw_map(found: Map, path: Path, *, title: str | None = None, note: str = "") -> None:
    """Draw a map; its legend has the number of sequences of each class.

    Args:
        found: The map.
        path: A path that `check_figure` accepts.
        title: Above the figure; None: `Map.title`.
        note: A text for the metadata of the file.

    Raises:
        OutputError: The file cannot be written.
    """
    figure, (axes,) = panels(6.4, 4.8)
    n = len(found.points)
    style: dict[str, Any] = {"s": float(np.clip(4000 / n, 3, 28)), "linewidths": 0, "rasterized": n > 2000}
    x, y = found.points.T
    if not found.color:
        axes.scatter(x, y, color=COLOURS[0], alpha=0.8, **style)
    elif is_numeric(values := found.columns[found.color]) and len(set(values.tolist())) > 1:
        is_known = np.isfinite(values.astype(float))
        axes.scatter(x[~is_known], y[~is_known], color=OTHER, **style)
        drawn = axes.scatter(x[is_known], y[is_known], c=values[is_known], cmap="viridis", **style)
        bar = figure.colorbar(drawn, ax=axes, label=found.color, fraction=0.046, pad=0.02)
        bar.ax.tick_params(labelsize=8)
        bar.ax.yaxis.set_major_formatter(lambda x, _: f"{x:,.0f}" if abs(x) >= 1000 else f"{x:g}")
    else:
        colours = class_colours(values)
        names = np.array([*map(str, values.tolist())])
        groups: dict[str, list[str]] = {}
        for name, colour in colours.items():
            groups.setdefault(colour if colour == OTHER and name != NO_LABEL else name, []).append(name)
        folders = {name.rpartition("/")[0] for name in colours} if found.color == "source" else {""}  # of files
        n_shared = len(min(folders)) + 1 if len(folders) == 1 and min(folders) else 0
        for group in reversed(groups.values()):  # the rare ones below
            is_one = np.isin(names, group)
            label = group[0][n_shared:] if len(group) == 1 else f"{len(group)} others"
            text = f"{(label if len(label) <= 28 else label[:27] + '…') or '(empty)'} ({is_one.sum():,})"
            axes.scatter(x[is_one], y[is_one], color=colours[group[0]], alpha=0.8, label=text, **style)
        handles, texts = axes.get_legend_handles_labels()
        scale = max(1, (20 / style["s"]) ** 0.5)
        axes.legend(handles[::-1], texts[::-1], title=found.color, markerscale=scale, **_LEGEND)
    axes.set(xlabel=found.axes[0], ylabel=found.axes[1])
    axes.set_title(found.title if title is None else title, fontsize=9, loc="left")
    axes.tick_params(labelsize=8)
    save_figure(figure, path, note=note)


def write_page(found: Map, path: Path, *, title: str | None = None, note: str = "") -> None:
    """Write a map as one HTML page with search, a table and details of each point; it needs no network.

    Args:
        found: The map.
        path: The page.
        title: Heading; None: `Map.title`.
        note: A text for the metadata of the file.

    Raises:
        OutputError: The file cannot be written.
    """
    content = {
        "title": found.title if title is None else title,
        "version": __version__,
        "note": note,
        "axes": found.axes,
        "x": [float(f"{v:.5g}") for v in found.points[:, 0].tolist()],
        "y": [float(f"{v:.5g}") for v in found.points[:, 1].tolist()],
        "color": found.color,
        "other": OTHER,
        "columns": [values_of(name, values) for name, values in found.columns.items() if not is_unset(values)],
    }
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    with replacing(path) as temp:
        temp.write_text(_PAGE.read_text(encoding="utf-8").replace("/*DATA*/null", text), encoding="utf-8")
