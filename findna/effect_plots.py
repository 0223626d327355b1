"""Figures of mutagenesis: a heat map and a sequence logo of effects, and a map of dependencies."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from findna.extras import need
from findna.plots import require_figure, save_figure
from findna.sequence import BASES, Codes, N, decode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INCHES_PER_BASE = 0.12
_INCHES_PER_TICK = 1.1  # as wide as a position of nine digits


def check_plot(path: Path) -> None:
    """Raise if no figure can be written to this path. Call it before the computation.

    Raises:
        ConfigError: The ending is not that of a figure.
        MissingExtraError: logomaker or matplotlib is not installed.
    """
    require_figure(path)
    _packages()


def plot_effects(
    codes: Codes, effects: NDArray[np.float32], path: Path, *, value: str, unit: str, title: str, first: int
) -> None:
    """Draw a heat map of effects below a logo, in which a base is as high as the mean decrease over its changes.

    Args:
        codes: The sequence, shape (L,).
        effects: Shape (L, 4).
        path: A path that `check_plot` accepts.
        value: Label of the effects.
        unit: Of the effects; "" if it is not known.
        title: Above the figure.
        first: First position on the axis.
    """
    logomaker, figure_of = _packages()
    import pandas

    n_bases = len(codes)
    figure: Figure = figure_of(figsize=(min(60.0, max(6.0, _INCHES_PER_BASE * n_bases)), 4.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.3, 1))
    heights = np.zeros((n_bases, N))
    known = np.flatnonzero(codes < N)
    heights[known, codes[known]] = -effects[known].sum(axis=1) / (N - 1)  # the reference itself adds 0
    if heights.any():  # not only N
        logomaker.Logo(pandas.DataFrame(heights, columns=list(BASES)), ax=above, color_scheme="colorblind_safe")
    above.set(ylabel=f"mean decrease\nwhen changed{unit and f', {unit}'}", title=title)
    above.axhline(0, color="#999999", linewidth=0.6)
    above.set_ylim(*(1.05 * end for end in above.get_ylim()))  # the logo ends at its highest letter
    limit = float(np.abs(np.nan_to_num(effects)).max()) or 1.0
    image = below.imshow(effects.T, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    below.plot(known, codes[known], "s", color="#222222", markersize=1.5, linestyle="none")
    below.set(yticks=range(N), yticklabels=list(BASES), xlabel="position, 1-based")
    below.set_xticks(*_ticks(n_bases, first, inches=figure.get_size_inches()[0]))
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    figure.colorbar(image, ax=below, pad=0.01).set_label(_wrapped(value), fontsize=8)
    save_figure(figure, path)


def plot_pairs(codes: Codes, pairs: NDArray[np.float32], path: Path, *, title: str, first: int) -> None:
    """Draw the dependencies of positions, shape (L, L): base i changes, base j is predicted; see `plot_effects`."""
    _, figure_of = _packages()
    size = min(14.0, max(5.0, 0.06 * len(codes)))
    figure: Figure = figure_of(figsize=(size * 1.15, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(
        pairs, cmap="magma_r", vmin=0, vmax=float(np.percentile(np.nan_to_num(pairs), 99.5)), interpolation="nearest"
    )
    axes.set(xlabel="predicted position", ylabel="changed position", title=title)
    if len(codes) <= 60:
        axes.set_xticks(range(len(codes)), list(decode(codes)), fontsize=6)
        axes.set_yticks(range(len(codes)), list(decode(codes)), fontsize=6)
    else:
        axes.set_xticks(*_ticks(len(codes), first, inches=size))
        axes.set_yticks(*_ticks(len(codes), first, inches=size))
    figure.colorbar(image, ax=axes, label="largest change of log-odds, nats", fraction=0.046, pad=0.02)
    save_figure(figure, path)


def _ticks(n_bases: int, first: int, *, inches: float) -> tuple[range, list[str]]:
    """Places and labels of ticks on an axis of that length."""
    step = max(1, -(-n_bases // int(inches / _INCHES_PER_TICK) // 5) * 5)
    places = range(-first % step, n_bases, step)  # multiples of the step
    return places, [f"{first + place:,}" for place in places]


def _packages() -> tuple[Any, Any]:
    """logomaker, and matplotlib's Figure."""
    logomaker = need("logomaker", extra="plot", purpose="a figure", package="logomaker and matplotlib")
    return logomaker, need("matplotlib.figure", extra="plot", purpose="a figure").figure.Figure


def _wrapped(text: str) -> str:
    return text.replace(" minus ", "\nminus ").replace(", masked", ",\nmasked")
