"""The run of `findna embed`: its job, and the rows of a model's vectors."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from findna.cells import Cell, Item
from findna.config import EmbedConfig
from findna.embedding import RecordEmbedder, feature_columns, feature_names, obs_columns, width_of
from findna.io.rows import Layout
from findna.models.folders import DEFAULT
from findna.models.manifest import digest_of
from findna.models.store import Model, load_model
from findna.nn.device import Compute
from findna.runs.job import STDOUT, Job


@dataclass(frozen=True)
class EmbedJob(Job):
    """A run of `findna embed`.

    Args:
        config: The contents of a vector.
        model: A shipped model's name or a model folder.
    """

    config: EmbedConfig = field(default_factory=EmbedConfig)
    model: str = DEFAULT

    def _problems(self) -> list[str]:
        problems = super()._problems()
        if self.config.strand != self.options.strand:
            problems.append(
                f"strand {self.config.strand} of the vectors and {self.options.strand} of the inputs differ"
            )
        if self.config.windows and self.run.shard:
            problems.append(
                f"windows=True cannot be used with shard={self.run.shard}, because a shard has complete records"
            )
        if self.config.with_tokens and self.run.shard and self.output_format != "h5":
            problems.append("tokens of a shard need HDF5")
        if self.out == STDOUT and (self.config.with_tokens or self.config.with_cls):
            problems.append("TSV on stdout has one vector per row: tokens, and cls with another pool, need a file")
        return problems

    def load(self, compute: Compute) -> "VectorRows":
        """The model and its read-out."""
        return VectorRows(load_model(self.model), self.config, compute)


class VectorRows:
    """A `findna.runs.job.RowMaker` for the vectors of a model.

    Args:
        model: The model; it is not changed.
        config: The contents of a vector.
        compute: Where and how it runs.
    """

    schema: str = ""

    def __init__(self, model: Model, config: EmbedConfig, compute: Compute) -> None:
        self._embedder = RecordEmbedder(model.network, config, readout=model.readout, compute=compute)
        self._config, self._readout = self._embedder.config, model.readout
        self.size, self.compute = model.config, compute
        self.window, self.stride, self.has_windows = self._config.window, self._config.stride, self._config.windows
        facts = {"sha256": model.sha256, "config": self.size.to_dict(), "readout": model.readout.facts}
        self.identity = digest_of(facts)
        self.facts: Mapping[str, Any] = {"name": model.name, **facts, "training": model.training.get("summary", {})}
        self.params: Mapping[str, Any] = {**asdict(self._config), "batch_bases": compute.batch_bases}

    def layout(self, extra: Sequence[str] = ()) -> Layout:
        """The contents of a row."""
        config, size = self._config, self.size
        return Layout(
            columns=obs_columns(config, extra),
            features=feature_names(config, size),
            dtype=config.dtype,
            cls_shape=(size.n_class_tokens, width_of(config, size)) if config.with_cls else None,
            tokens_dim=width_of(config, size) if config.with_tokens else None,
            var=feature_columns(config, size, self._readout),
        )

    def cells(self, items: Iterable[Item]) -> Iterator[Cell]:
        """Yield the vectors of records."""
        return self._embedder.embed(items)
