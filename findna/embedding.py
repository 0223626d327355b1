"""From records to vectors: what is read of the teacher, pooled, in the order of the input."""

import dataclasses
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from findna.config import EmbedConfig, ModelConfig
from findna.forward import Cell, Forward, Item, Joined, Readout, Spans
from findna.io.hdf5 import TokenSink
from findna.io.rows import OBS_COLUMNS, Kind
from findna.nn.device import Precision, pick_batch_bases
from findna.nn.encoder import Encoder
from findna.nn.pooling import class_tokens, over_windows
from findna.record import Record


def obs_columns(config: EmbedConfig, extra: Iterable[str] = ()) -> dict[str, Kind]:
    """Name and kind of the output's columns: those of every output, rc_cosine for both strands, those of the input."""
    columns = dict(OBS_COLUMNS)
    if config.strand == "both":
        columns["rc_cosine"] = "float32"
    return columns | dict.fromkeys(extra, "int32")


def feature_names(config: EmbedConfig, model: ModelConfig) -> list[str]:
    """Names of a vector's values, in order: f000, ...

    Where there are several, cls0_, sd_ and the like stand before, and b5_ for the block: sd_b5_f000.
    """
    depths = config.depths(model)
    places = [f"b{depth}_" for depth in depths] if len(depths) > 1 else [""]
    features = [f"{place}f{channel:03d}" for place in places for channel in range(model.channels)]
    if config.pool == "cls":
        return [f"cls{token}_{feature}" for token in range(model.n_class_tokens) for feature in features]
    return [f"{pool}_{feature}" for pool in config.pools for feature in features] if len(config.pools) > 1 else features


def width_of(config: EmbedConfig, model: ModelConfig) -> int:
    """Values of a position: the channels, of each block that is read."""
    return model.channels * len(config.depths(model))


class Embedder:
    """A teacher on its device, with what is to be read from it.

    Args:
        network: The teacher; it stays as it is.
        config: What is in a vector.
        device: Where it runs.
        precision: Of the matrix products and the residual stream; the pooling is float32.
    """

    def __init__(self, network: Encoder, config: EmbedConfig, *, device: torch.device, precision: Precision) -> None:
        config = config.for_model(network.config)
        self.config = config = dataclasses.replace(config, batch_bases=pick_batch_bases(config.batch_bases, device))
        self.device, self.precision = device, precision
        kinds = [*config.pools, *(["cls"] if config.with_cls else [])]
        self._forward = Forward(
            network,
            Readout(kinds, self._read),
            window=config.window,
            stride=config.stride,
            both_strands=config.strand == "both",
            batch_bases=config.batch_bases,
            n_class_tokens=network.config.n_class_tokens,
            blocks=config.depths(network.config),
            device=device,
            precision=precision,
        )
        self.network = self._forward.network

    def embed(self, items: Iterable[Item], *, sink: TokenSink | None = None) -> Iterator[Cell]:
        """Yield the rows of records, a cell at a time.

        Reading and packing run ahead in a thread. Memory is a few batches, however long a record is.

        Args:
            items: Records, and in their places the faults of those that are to be skipped.
            sink: Takes the tokens of every batch (`write_tokens`), if the config asks for them.
        """

        on_own = partial(_write_tokens, sink) if self.config.with_tokens and sink is not None else None
        for slots, skipped in self._forward.run(items, on_own=on_own):
            x, obs, cls = self._rows(slots)
            yield Cell(x, obs, cls, skipped)

    def hidden_states(self, record: Record) -> NDArray[np.float32]:
        """The hidden state of each base of a record, shape (L, C times the blocks that are read), float32."""
        parts: list[Tensor] = []
        for _ in self._forward.run([record], on_own=parts.extend):
            pass
        return np.concatenate([bases.float().cpu().numpy() for bases in parts])

    def _read(self, hidden: Tensor, rings: NDArray[np.int64], own: Spans) -> list[Tensor]:
        config = self.config
        values = [*over_windows(hidden, own, [pool for pool in config.pools if pool != "cls"]).values()]
        if config.pool == "cls" or config.with_cls:
            tokens = class_tokens(hidden, rings, self.network.config.n_class_tokens)  # (B, K, C)
            values.append(tokens.flatten(1) if config.pool == "cls" else tokens)
        return values

    def _rows(
        self, slots: list[Joined]
    ) -> tuple[NDArray[np.float32], list[dict[str, Any]], NDArray[np.float32] | None]:
        config = self.config
        kinds = range(len(config.pools))
        by_strand = np.array([slot.by_strand(kinds) for slot in slots], np.float32)  # (n, 1 or 2, F)
        x = by_strand.mean(axis=1) if slots else by_strand.reshape(0, len(feature_names(config, self.network.config)))
        if config.strand == "both":
            for slot, (forward, reverse) in zip(slots, by_strand, strict=True):
                slot.obs["rc_cosine"] = _cosine(forward, reverse)
        cls = None
        if config.with_cls:
            shape = (-1, self.network.config.n_class_tokens, width_of(config, self.network.config))
            joined = [np.mean(slot.by_strand([len(kinds)]), axis=0) for slot in slots]
            cls = np.array(joined, np.float32).reshape(shape)
        return x, [slot.obs for slot in slots], cls


def _write_tokens(sink: TokenSink, own: list[Tensor]) -> None:
    for bases in own:
        sink.write_tokens(bases.to(torch.float16).cpu().numpy())


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-30))
