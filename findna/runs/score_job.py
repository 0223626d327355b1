"""The job of `findna score`, and what its output says of it; nothing here loads torch."""

import dataclasses
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from findna.alleles import window_of
from findna.config import ScoreConfig
from findna.io.check import open_inputs
from findna.io.genome import Genome
from findna.io.score_files import Format, format_of
from findna.io.score_sink import STDOUT
from findna.models.described import ModelFacts, TaskFacts
from findna.models.folders import DEFAULT
from findna.runs.job import RunJob
from findna.runs.provenance import versions
from findna.runs.scored import ScorePart

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class ScoreJob(RunJob):
    """The settings and output of the scores. The input is a VCF, BCF or TSV file, or "-" for stdin.

    Args:
        config: The settings of the scores.
        model: A shipped model's name or a model folder.
        task: A built-in task's name or a run directory, instead of the model; "" without.
        output_format: vcf, bcf, tsv or parquet.
        embeddings: HDF5 file for the vectors of REF and ALT, or None.
    """

    config: ScoreConfig = field(default_factory=ScoreConfig)
    model: str = DEFAULT
    task: str = ""
    output_format: Format = "vcf"
    embeddings: Path | None = None

    def open(self, stack: ExitStack) -> Genome | None:
        """Open the genome; the run itself opens the file of the variants."""
        return open_inputs([], self.options, stack)

    def _problems(self) -> list[str]:
        problems = []
        if len(self.inputs) != 1:
            problems.append(f"variants come from one file, not from {len(self.inputs)}")
        if self.options.genome is None:
            problems.append("variants need their genome")
        if self.out == STDOUT and self.output_format in ("bcf", "parquet"):
            problems.append(f"{self.output_format} cannot be streamed to stdout: choose tsv or vcf, or a file")
        if self.out == STDOUT and self.embeddings:
            problems.append(f"embeddings={self.embeddings} needs a file for the scores, not stdout")
        if self.out != STDOUT and format_of(self.out.name) not in (None, self.output_format):
            problems.append(f"format {self.output_format} contradicts the name {self.out}")
        if self.embeddings and self.task:
            problems.append(f"embeddings={self.embeddings} needs a model: a task has no vectors")
        if self.embeddings == self.out:
            problems.append(f"{self.out} cannot hold both scores and vectors")
        if self.run.shard and self.read_once:
            problems.append("a shard needs an input that can be read twice: a file")
        return problems

    @property
    def source(self) -> str:
        """The file of the variants."""
        return self.inputs[0]


def params_of_scores(job: ScoreJob, model: ModelFacts | TaskFacts) -> dict[str, Any]:
    """The settings in an output."""
    window = window_of(job.config, longest=model.window)
    params = dataclasses.asdict(job.config) | {"window": window, "on_error": job.run.on_error}
    if job.task:
        params.pop("scores")
    return params


def header_lines(job: ScoreJob, facts: Mapping[str, Any], part: ScorePart | None) -> dict[str, str]:
    """The header lines about the run."""
    source = facts["inputs"][0]
    params = {name: ",".join(v) if isinstance(v, tuple) else v for name, v in facts["params"].items()}
    return {
        "Version": "{findna}+torch-{torch}+pysam-{pysam}".format(**versions()),
        "Command": f"{job.command or 'findna score'}; Date={facts.get('provenance', {}).get('started', '')}",
        "Model": f"{'task ' if job.task else ''}{facts['model']['name']}; sha256={facts['model']['sha256']}",
        "Genome": "{path}; digest={digest}; bytes={bytes}; modified_ns={modified_ns}".format(**facts["genome"]),
        "Input": f"{source['path']}" + (f"; sha256={source['sha256']}" if "sha256" in source else ""),
        "Parameters": "; ".join(f"{name}={value}" for name, value in params.items()),
        **({"Shard": str(part)} if part else {}),
    }
