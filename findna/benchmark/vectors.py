"""Frozen vectors of sequences, as a benchmark reads them off a network."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from findna.config import parse_blocks, parse_pools
from findna.data.datasets import Corpus
from findna.data.windows import cut, join
from findna.encode import embed_windows
from findna.errors import ConfigError
from findna.models.readout import ModelReadout
from findna.models.task import TaskSettings
from findna.nn.device import Precision
from findna.nn.encoder import Encoder


@dataclass(frozen=True)
class ReadOut:
    """What a vector is made of; a sequence goes through in the network's own windows, end to end.

    Args:
        pool: A comma list of `findna.config.POOLS`; "" is the mean.
        blocks: After how many blocks the hidden states are read, as in 5,10,20; else after all.
        strand: "both" averages the vectors of the two strands, "bed" takes the sequence as it is written.

    Raises:
        ConfigError: A setting is not known.
    """

    pool: str = "mean"
    blocks: str = ""
    strand: str = "both"

    def __post_init__(self) -> None:
        parse_pools(self.pool or "mean")
        parse_blocks(self.blocks)
        if self.strand not in ("both", "bed"):
            raise ConfigError(f"strand must be both or bed, not {self.strand!r}")

    def of_model(self, own: ModelReadout) -> "ReadOut":
        """The same, with a model's own pools and blocks where neither is named; vectors stay as they are."""
        if self.pool or self.blocks:
            return replace(self, pool=self.pool or "mean")
        return replace(self, pool=own.pool, blocks=own.blocks)

    def vectors(
        self,
        encoder: Encoder,
        corpus: Corpus,
        *,
        device: torch.device,
        precision: Precision,
        on_done: Callable[[int], None] = lambda n_windows: None,
    ) -> NDArray[np.float32]:
        """The vectors of all sequences, shape (n, F).

        Args:
            encoder: On the device, for inference.
            corpus: The sequences.
            device: Where it runs.
            precision: Of the matrix products and the residual stream.
            on_done: Called after each batch with the number of windows so far.

        Raises:
            ConfigError: The network has no such block.
        """
        model = encoder.config
        settings = TaskSettings(
            objective="regression",  # has no classes
            classes=(),
            pools=parse_pools(self.pool or "mean"),
            blocks=parse_blocks(self.blocks, model.depth),
            n_class_tokens=model.n_class_tokens,
            window=model.window,
            stride=model.window,
        )
        windows = cut(corpus, window=settings.window, stride=settings.stride)
        strands = [
            embed_windows(
                encoder,
                corpus,
                windows,
                settings=settings,
                device=device,
                precision=precision,
                is_turned=is_turned,
                on_done=on_done,
            )
            for is_turned in ((False, True) if self.strand == "both" else (False,))
        ]
        return join(torch.stack(strands).mean(0).numpy(), windows, len(corpus)).astype(np.float32)
