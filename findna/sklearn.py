"""A scikit-learn transformer: sequences to vectors as a step of a Pipeline."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from findna.api import embed
from findna.config import EmbedConfig
from findna.embedding import feature_names
from findna.extras import need_sklearn
from findna.io.memory import Bases
from findna.models.folders import DEFAULT
from findna.models.store import Model, load_model

need_sklearn("findna.sklearn")
from sklearn.base import BaseEstimator, TransformerMixin  # noqa: E402


class Embedder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Sequences to vectors (n, D), as in `findna.embed`. Nothing is fitted.

    Args:
        model: A name or folder, see `findna.load_model`.
        strand: "bed" or "+": as given; "-": the reverse complement; "both": the mean of the two vectors.
        pool: mean, sd, max, min (over bases) or several, as in mean,sd; or cls, the class tokens. Without pool, layer
            and blocks, the model's own read-out, standardised.
        raw: Do not standardise the values of the model's own read-out.
        layer: Layer after which to read; 0: the stem, -1: the last.
        blocks: Blocks after which to read, instead of `layer`, such as 5,10,15,20.
        window: Maximum length of a window, in bases; 0: that of the model.
        stride: Bases between window starts; 0: the window length.
        batch_bases: Bases per batch; 0: suited to the device.
        device: auto, cpu, cuda, cuda:1, mps.
        precision: auto, fp32, bf16, bf16-stream.

    Examples:
        >>> from sklearn.base import clone
        >>> clone(Embedder(strand="both")).get_params()["strand"]
        'both'
    """

    def __init__(
        self,
        *,
        model: str | Path = DEFAULT,
        strand: str = "bed",
        pool: str = "",
        raw: bool = False,
        layer: int = -1,
        blocks: str = "",
        window: int = 0,
        stride: int = 0,
        batch_bases: int = 0,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        self.model, self.strand, self.pool, self.raw, self.layer, self.blocks = model, strand, pool, raw, layer, blocks
        self.window, self.stride, self.batch_bases = window, stride, batch_bases
        self.device, self.precision = device, precision

    def fit(self, X: Iterable[Bases], y: Any = None) -> Self:
        """Load the model and check the settings; the sequences are not read.

        Raises:
            ModelError: The model is not found or damaged.
            ConfigError: A setting is out of range.
        """
        self.get_feature_names_out()
        return self

    def transform(self, X: Iterable[Bases]) -> NDArray[np.float32]:
        """The vectors of n sequences, shape (n, D), float32; raises as `findna.embed`."""
        return embed(X, **{**self.get_params(), "model": self._load()})

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the D values, as in /var of an output file."""
        model = self._load()
        config = EmbedConfig(pool=self.pool, layer=self.layer, blocks=self.blocks)
        config = model.readout.embed_config(config, model.config)
        return np.array(feature_names(config, model.config), dtype=object)

    def _load(self) -> Model:
        """The model, loaded once per name; a clone, or a copy in another process, loads its own."""
        name, model = getattr(self, "_loaded", ("", None))
        if model is None or name != self.model:
            model = load_model(self.model)
            self._loaded = (self.model, model)
        return model

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_loaded"}

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        return tags
