"""A model's own read-out: which blocks and pools make its vectors, and mean and sd of each feature."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from findna.config import EmbedConfig
from findna.counts import counted
from findna.errors import ConfigError
from findna.models.manifest import digest_of
from findna.recipes import FinetuneConfig
from findna.sizes import ModelConfig, n_features

LEAST_SPREAD = 1e-3
"""A feature whose sd is below this fraction of its mean counts as constant: it is centred, and its scale is 1."""

STANDARD_SD = 0.08
"""The sd of a standardised feature. The default penalties of stock tools, such as scikit-learn's logistic regression,
suit a thousand columns of this sd; with an sd of 1 they overfit (docs/model.md)."""

_LEAST_SD = 1e-6
_DIGITS = 5


@dataclass(frozen=True, eq=False)
class ModelReadout:
    """The pools and blocks of a model's vectors; the defaults are for models without a read-out.

    Args:
        pool: As `EmbedConfig.pool`.
        blocks: As `EmbedConfig.blocks`; "": after the last.
        center: Mean of each feature over reference windows, shape (F,), float32; None: not measured.
        scale: Its standard deviation there, 1 for a constant feature; None: not measured.
        reference: The data of the measurement: `n_windows`, the `sources` by name, the sha256 of the `weights`.
    """

    pool: str = "mean"
    blocks: str = ""
    center: NDArray[np.float32] | None = None
    scale: NDArray[np.float32] | None = None
    reference: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def measured(
        cls, pool: str, blocks: str, *, mean: NDArray[Any], sd: NDArray[Any], reference: Mapping[str, Any]
    ) -> Self:
        """A read-out with the statistics of its features, rounded as they are stored."""
        is_constant = sd < np.maximum(LEAST_SPREAD * np.abs(mean), _LEAST_SD)
        return cls(pool, blocks, _rounded(mean), _rounded(np.where(is_constant, 1.0, sd)), reference)

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Self:
        """The read-out in a model's `config.json`, as `to_dict` wrote it; the default if there is none.

        Raises:
            ConfigError: A mean is not finite, or an sd is not positive.
        """
        if "readout" not in config:
            return cls()
        values = config["readout"]
        pool, blocks = (",".join(map(str, values[name])) for name in ("pools", "blocks"))
        center, scale = (np.array(values[name], dtype=np.float32) for name in ("center", "scale"))
        if not (np.isfinite(center).all() and np.isfinite(scale).all() and (scale > 0).all()):
            raise ConfigError("read-out: a mean is not finite, or an sd is not positive")
        reference = dict(values.get("reference", {}))
        if not (isinstance(reference.get("n_windows", 0), int) and isinstance(reference.get("weights", ""), str)):
            raise ConfigError("read-out: reference must have a number as n_windows and a text as weights")
        return cls(pool, blocks, center, scale, reference)

    def check(self, model: ModelConfig) -> None:
        """Refuse a read-out of another model.

        Raises:
            ConfigError: The model has no such block, or there is not one mean and one sd for each feature.
        """
        if self.center is None or self.scale is None:
            return
        n = n_columns(EmbedConfig(pool=self.pool, blocks=self.blocks).for_model(model), model)
        if not self.center.shape == self.scale.shape == (n,):
            raise ConfigError(f"read-out: {self.center.size:,} means and {self.scale.size:,} sds for {n:,} features")

    def to_dict(self) -> dict[str, Any]:
        """The entry of a measured read-out in `config.json`."""
        if self.center is None or self.scale is None:
            raise ValueError("a read-out without statistics is not stored")
        return {
            "pools": self.pool.split(","),
            "blocks": [int(block) for block in self.blocks.split(",") if block],
            "reference": dict(self.reference),
            "center": [float(f"{value:.{_DIGITS}g}") for value in self.center.tolist()],
            "scale": [float(f"{value:.{_DIGITS}g}") for value in self.scale.tolist()],
        }

    @property
    def facts(self) -> dict[str, Any]:
        """The entry in an output: everything except the numbers, which are in `var`, and the sha256 of all."""
        if self.center is None:
            return {}
        stored = self.to_dict()
        kept = {name: stored[name] for name in ("pools", "blocks", "reference")}
        return {**kept, "n_features": len(self.center), "spread": STANDARD_SD, "sha256": digest_of(stored)}

    def __str__(self) -> str:
        where = f"blocks {self.blocks}" if self.blocks else "the last block"
        if self.center is None:
            return f"{self.pool} after {where}; not standardised"
        windows = counted(self.reference.get("n_windows", 0), "window")
        return f"{self.pool} after {where}; {counted(len(self.center), 'feature')}, standardised on {windows}"

    def embed_config(self, config: EmbedConfig, model: ModelConfig) -> EmbedConfig:
        """The complete config for a model; its `raw` then tells whether values are not standardised.

        A config without pool, blocks and layer gets those of the model. Values are standardised if they are those of
        the model's read-out, this was measured, and the config does not ask for raw values.

        Raises:
            ConfigError: As in `EmbedConfig.for_model`.
        """
        if not (config.pool or config.blocks or config.layer != -1):
            config = dataclasses.replace(config, pool=self.pool, blocks=self.blocks)
        config = dataclasses.replace(config, pool=",".join(config.pools)).for_model(model)
        return dataclasses.replace(config, raw=config.raw or not self.has_statistics_of(config, model))

    def finetune_config(self, config: FinetuneConfig, model: ModelConfig) -> FinetuneConfig:
        """The recipe with pools and blocks filled in.

        A recipe without pools and blocks gets the model's own read-out, like its frozen probe. If the model has none, a
        fine-tuning of all weights uses mean and maximum after four blocks. A read-out never contains blocks that
        `extend` adds.
        """
        if config.pool or config.blocks or config.extend:
            pool, blocks = ",".join(config.pools), config.blocks
        elif self.center is None and not config.frozen:
            places = {max(1, round(model.depth * share)) for share in (0.4, 0.6, 0.8, 1)}
            pool, blocks = "mean,max", ",".join(map(str, sorted(places)))
        else:
            pool, blocks = self.pool, self.blocks
        return dataclasses.replace(config, pool=pool, blocks=blocks)

    def has_statistics_of(self, config: EmbedConfig, model: ModelConfig) -> bool:
        """Whether mean and sd of a complete config's features are known."""
        if self.center is None:
            return False
        own = EmbedConfig(pool=self.pool, blocks=self.blocks).for_model(model)
        return (own.pools, own.depths(model)) == (config.pools, config.depths(model))

    def standardise(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """`STANDARD_SD` * (x - center) / scale of raw vectors, shape (..., F)."""
        if self.center is None or self.scale is None:
            raise ValueError("the read-out has no statistics")
        return (x - self.center) / (self.scale / np.float32(STANDARD_SD))


def n_columns(config: EmbedConfig, model: ModelConfig) -> int:
    """F, the number of features."""
    width = model.channels * len(config.depths(model))
    return n_features(config.pools, channels=width, n_class_tokens=model.n_class_tokens)


def _rounded(values: NDArray[Any]) -> NDArray[np.float32]:
    return np.array([float(f"{value:.{_DIGITS}g}") for value in values.tolist()], dtype=np.float32)
