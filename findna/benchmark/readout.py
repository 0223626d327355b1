"""The vectors of a corpus: the features that a benchmark reads from a model."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from findna.config import parse_blocks, parse_pools
from findna.data.datasets import Corpus
from findna.data.windows import cut, join
from findna.encode import Readings, embed_strands
from findna.errors import ConfigError
from findna.models.readout import ModelReadout
from findna.nn.device import Compute
from findna.nn.encoder import Encoder


@dataclass(frozen=True)
class ReadOut:
    """The features of a corpus; sequences are split into the network's windows, without overlap.

    Args:
        pool: Some of `findna.config.POOLS`, comma-separated; "": the mean.
        blocks: Blocks after which the hidden states are read, such as 5,10,20; "": after the last.
        strand: "both" averages the vectors of the two strands, "bed" takes the sequence as it is written, and "auto"
            leaves the choice between them to the probe's validation split.

    Raises:
        ConfigError: A setting is not known.
    """

    pool: str = "mean"
    blocks: str = ""
    strand: str = "both"

    def __post_init__(self) -> None:
        parse_pools(self.pool or "mean")
        parse_blocks(self.blocks)
        if self.strand not in ("both", "bed", "auto"):
            raise ConfigError(f"strand must be both, bed or auto, not {self.strand!r}")

    def of_model(self, own: ModelReadout) -> "ReadOut":
        """The same; without pools and blocks, those of the model are filled in. Vectors are not standardised."""
        if self.pool or self.blocks:
            return dataclasses.replace(self, pool=self.pool or "mean")
        return dataclasses.replace(self, pool=own.pool, blocks=own.blocks)

    def vectors(
        self,
        encoder: Encoder,
        corpus: Corpus,
        *,
        compute: Compute,
        on_done: Callable[[int], None] = lambda n_windows: None,
    ) -> dict[str, NDArray[np.float32]]:
        """The vectors of all sequences, shape (n, F), float32, by strand: one entry, or bed and both for auto.

        Args:
            encoder: On the device, for inference.
            corpus: The sequences.
            compute: Where and how it runs.
            on_done: Called after each batch with the number of windows so far.

        Raises:
            ConfigError: The network has no such block.
        """
        model = encoder.config
        windows = cut(corpus.lengths, window=model.window, stride=model.window)
        strands = embed_strands(
            encoder,
            corpus,
            windows,
            strand="bed" if self.strand == "bed" else "both",
            settings=Readings(
                parse_pools(self.pool or "mean"), parse_blocks(self.blocks, model.depth), model.n_class_tokens
            ),
            compute=compute,
            on_done=on_done,
        )
        read = {"bed": strands[0], "both": torch.stack(strands).mean(0)}
        wanted = list(read) if self.strand == "auto" else [self.strand]
        return {name: join(read[name].numpy(), windows, len(corpus)).astype(np.float32) for name in wanted}
