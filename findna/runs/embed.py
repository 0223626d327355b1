"""The job of `findna embed`; nothing here loads torch before the model."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from findna.config import EmbedConfig
from findna.models.described import describe_model
from findna.models.folders import DEFAULT
from findna.runs.job import STDOUT, Job
from findna.runs.row_facts import RowFacts, facts_of_vectors

if TYPE_CHECKING:
    from findna.nn.device import Compute
    from findna.runs.row_makers import VectorRows


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

    def described(self, batch_bases: int) -> RowFacts:
        """The facts of the model and its read-out."""
        return facts_of_vectors(describe_model(self.model), self.config, batch_bases)

    def load(self, compute: "Compute") -> "VectorRows":
        """The model and its read-out."""
        from findna.models.store import load_model
        from findna.runs.row_makers import VectorRows

        return VectorRows(load_model(self.model), self.config, compute)
