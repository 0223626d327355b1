"""The job of `findna classify`; nothing here loads torch before the task model."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from findna.config import ClassifyConfig
from findna.io.formats import Format
from findna.models.described import describe_task
from findna.runs.job import Job
from findna.runs.row_facts import RowFacts, facts_of_answers

if TYPE_CHECKING:
    from findna.nn.device import Compute
    from findna.runs.row_makers import AnswerRows


@dataclass(frozen=True)
class ClassifyJob(Job):
    """A run of `findna classify`. Its output is a TSV; that of a shard is HDF5, which a merge turns into a TSV.

    Args:
        config: The form of a prediction.
        task: A built-in task's name or a run directory.
    """

    output_format: Format = "tsv"
    config: ClassifyConfig = field(default_factory=ClassifyConfig)
    task: str = ""

    def _problems(self) -> list[str]:
        problems = super()._problems()
        if self.config.strand not in ("", self.options.strand):
            problems.append(f"strand {self.config.strand} of the task and {self.options.strand} of the inputs differ")
        if self.output_format != ("h5" if self.run.shard else "tsv"):
            problems.append(f"predictions are a TSV, and those of a shard HDF5, not {self.output_format}")
        if self.config.windows and self.run.shard:
            problems.append(
                f"windows=True cannot be used with shard={self.run.shard}, because a shard has complete records"
            )
        return problems

    def described(self, batch_bases: int) -> RowFacts:
        """The facts of the task model and the form of its predictions."""
        return facts_of_answers(describe_task(self.task), self.config, batch_bases)

    def load(self, compute: "Compute") -> "AnswerRows":
        """The task model and the form of its predictions."""
        from findna.models.task import load_task
        from findna.runs.row_makers import AnswerRows

        return AnswerRows(load_task(self.task), self.config, compute)
