"""From records to vectors, in input order: hidden states of the teacher, pooled."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from findna.cells import Cell, Item
from findna.config import EmbedConfig
from findna.encode import Spans
from findna.io.rows import OBS_COLUMNS, Columns, Kind
from findna.models.readout import ModelReadout, n_columns
from findna.nn.device import Compute
from findna.nn.encoder import Encoder
from findna.nn.pooling import gather
from findna.record import Record
from findna.sizes import ModelConfig
from findna.stream import Forward, Passed, Readout


def obs_columns(config: EmbedConfig, extra: Iterable[str] = ()) -> dict[str, Kind]:
    """Name and kind of the output's columns: the common ones, rc_cosine for both strands, and those of the input."""
    columns = dict(OBS_COLUMNS)
    if config.strand == "both":
        columns["rc_cosine"] = "float32"
    return columns | dict.fromkeys(extra, "int32")


def feature_names(config: EmbedConfig, model: ModelConfig) -> list[str]:
    """Names of a vector's values, in order: f000, ...

    With several pools or blocks, they have prefixes such as cls0_ or sd_, and b5_ for the block: sd_b5_f000.
    """
    pools, depths = _pool_labels(config, model), config.depths(model)
    return [
        (f"{pool}_" if len(pools) > 1 or config.pool == "cls" else "")
        + (f"b{depth}_" if len(depths) > 1 else "")
        + f"f{channel:03d}"
        for pool, depth, channel in itertools.product(pools, depths, range(model.channels))
    ]


def feature_columns(
    config: EmbedConfig, model: ModelConfig, readout: ModelReadout
) -> Mapping[str, Sequence[int | str | float]]:
    """The columns `findna.io.rows.VAR_COLUMNS` of a vector's features; unknown mean and sd are NaN.

    Args:
        config: Complete, see `ModelReadout.embed_config`.
        model: Size of the network.
        readout: The model's own read-out.
    """
    places = itertools.product(_pool_labels(config, model), config.depths(model), range(model.channels))
    pools, depths, channels = zip(*places, strict=True)
    unknown = [math.nan] * len(pools)
    mean = sd = unknown
    if readout.has_statistics_of(config, model) and readout.center is not None and readout.scale is not None:
        mean, sd = readout.center.tolist(), readout.scale.tolist()
    return {"block": depths, "pool": pools, "channel": channels, "mean": mean, "sd": sd}


def _pool_labels(config: EmbedConfig, model: ModelConfig) -> Sequence[str]:
    return [f"cls{token}" for token in range(model.n_class_tokens)] if config.pool == "cls" else config.pools


def width_of(config: EmbedConfig, model: ModelConfig) -> int:
    """Values per position: the number of channels times the number of blocks."""
    return model.channels * len(config.depths(model))


class RecordEmbedder:
    """A teacher on its device, with its read-out.

    Args:
        network: The teacher; it is not changed.
        config: The contents of a vector.
        readout: The teacher's own read-out; None: the mean after the last block.
        compute: Where and how it runs; pooling always uses float32.
    """

    def __init__(
        self, network: Encoder, config: EmbedConfig, *, readout: ModelReadout | None = None, compute: Compute
    ) -> None:
        self._readout = readout or ModelReadout()
        self.config = config = self._readout.embed_config(config, network.config)
        self.compute = compute
        self._kinds = [*config.pools, *(["cls"] if config.with_cls else [])]
        self._forward = Forward(
            network,
            Readout(self._kinds, self._read),
            window=config.window,
            stride=config.stride,
            both_strands=config.strand == "both",
            n_class_tokens=network.config.n_class_tokens,
            blocks=config.depths(network.config),
            compute=compute,
        )
        self.network = self._forward.network

    def embed(self, items: Iterable[Item]) -> Iterator[Cell]:
        """Yield the rows of records, cell by cell; with tokens, these come before their rows.

        A thread reads and packs in advance. Memory is limited to a few batches, however long a record is.

        Args:
            items: Records, and errors in place of records to be skipped.
        """
        for passed in self._forward.run(items, with_states=self.config.with_tokens):
            x, obs, cls = self._rows(passed)
            states = [bases.to(torch.float16).cpu().numpy() for bases in passed.states]
            yield Cell(x, obs, cls, passed.skipped, np.concatenate(states) if states else None, passed.is_end)

    def hidden_states(self, record: Record) -> NDArray[np.float32]:
        """The hidden state of each base of a record, shape (L, C times the number of blocks), float32."""
        every = self._forward.run([record], with_states=True)
        return np.concatenate([bases.float().cpu().numpy() for passed in every for bases in passed.states])

    def _read(self, hidden: Tensor, rings: NDArray[np.int64], own: Spans) -> list[Tensor]:
        n_class_tokens = self.network.config.n_class_tokens
        return gather(hidden, rings, own, pools=self._kinds, n_class_tokens=n_class_tokens)

    def _rows(self, passed: Passed) -> tuple[NDArray[np.float32], Columns, NDArray[np.float32] | None]:
        config, size = self.config, self.network.config
        n_values, cls = n_columns(config, size), None
        if config.with_cls:
            shape = (-1, size.n_class_tokens, width_of(config, size))
            cls = (
                passed.values[-1].mean(axis=1).reshape(shape)
                if passed.n_rows
                else np.empty((0, *shape[1:]), np.float32)
            )
        if not passed.n_rows:
            return np.empty((0, n_values), np.float32), {}, cls
        by_strand = np.concatenate(passed.values[: len(config.pools)], axis=2)  # (n, 1 or 2, F)
        x: NDArray[np.float32] = by_strand.mean(axis=1)
        if not config.raw:
            x, by_strand = self._readout.standardise(x), self._readout.standardise(by_strand)
        if config.strand == "both":
            passed.obs["rc_cosine"] = [_cosine(forward, reverse) for forward, reverse in by_strand]
        return x, passed.obs, cls


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-30))
