"""Measures mean and sd of the features of a read-out over reference windows, to standardise vectors."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from findna.cells import Item
from findna.config import EmbedConfig
from findna.embedding import RecordEmbedder
from findna.errors import ConfigError, InputError
from findna.models.readout import ModelReadout, n_columns
from findna.models.store import Model
from findna.nn.device import Compute

N_WINDOWS = 4096
"""Default number of reference windows."""

MAX_COLUMNS = 1300
"""Default maximum number of features of a read-out."""


def measure_readout(
    model: Model,
    windows: Iterable[Item],
    *,
    pool: str,
    blocks: str = "",
    n_windows: int = N_WINDOWS,
    max_columns: int = MAX_COLUMNS,
    sources: Mapping[str, Any],
    compute: Compute,
    on_done: Callable[[int], None] = lambda n_done: None,
) -> ModelReadout:
    """A read-out of a model, with mean and sd of its features over the first windows; `save_readout` stores it.

    Memory is limited to a few batches, for any number of windows.

    Args:
        model: The model.
        windows: Sequences, on the given strand; at most `n_windows` of them are read.
        pool: As `EmbedConfig.pool`.
        blocks: As `EmbedConfig.blocks`.
        n_windows: Maximum number of windows.
        max_columns: Maximum number of features.
        sources: Where the windows come from: name and sha256 of each file.
        compute: Where and how it runs.
        on_done: Called with the number of windows so far.

    Raises:
        ConfigError: Pools or blocks are not those of the model, or the features are more than `max_columns`.
        InputError: A window cannot be used, or there are fewer than two.
    """
    config = EmbedConfig(pool=pool, blocks=blocks, raw=True)
    if (n := n_columns(config.for_model(model.config), model.config)) > max_columns:
        raise ConfigError(
            f"a read-out of {n:,} features is above the limit of {max_columns:,}: "
            "use fewer pools or blocks, or raise the limit"
        )
    embedder = RecordEmbedder(model.network, config, compute=compute)
    n_done, mean, squares = 0, np.zeros(n), np.zeros(n)
    for cell in embedder.embed(itertools.islice(windows, n_windows)):
        if cell.skipped:
            raise cell.skipped[0]
        x = cell.x.astype(np.float64)
        # Parts are joined by their means (Chan et al. 1979), because sums of squares would lose precision.
        away = x.mean(axis=0) - mean
        squares += ((x - x.mean(axis=0)) ** 2).sum(axis=0) + away**2 * (n_done * len(x) / (n_done + len(x)))
        n_done += len(x)
        mean += away * (len(x) / n_done)
        on_done(n_done)
    if n_done < 2:
        raise InputError(f"{n_done} reference windows found: an sd needs at least two")
    reference = {"n_windows": n_done, "sources": dict(sources), "weights": model.sha256}
    return ModelReadout.measured(pool, blocks, mean=mean, sd=np.sqrt(squares / n_done), reference=reference)
