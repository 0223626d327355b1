"""One run of `findna score`: records in, the same records with scores out, and the account of it."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from findna.errors import OutputError, VariantError
from findna.frame import Frame, RunJob
from findna.io.scores import STDOUT, Format, format_of, writer_of
from findna.io.vcf import Site, VariantReader, assembly_of
from findna.models.store import DEFAULT, Model, load_model
from findna.models.task import TaskModel, load_task
from findna.shard import Shard
from findna.variants import CHUNK, ScoreConfig, Scored, VariantScorer


@dataclass(frozen=True)
class ScoreJob(RunJob):
    """All that decides the scores, and where they go; its input is a VCF, BCF or TSV file, or "-" for stdin.

    Args:
        config: What is computed.
        model: A shipped model's name or a model folder.
        task: A built-in task's name or a run directory, instead of the model; "" without.
        output_format: vcf, tsv or parquet.
        shard: The part of the records to score; None is all.
    """

    config: ScoreConfig = field(default_factory=ScoreConfig)
    model: str = DEFAULT
    task: str = ""
    output_format: Format = "vcf"
    shard: Shard | None = None

    def _problems(self) -> list[str]:
        problems = []
        if len(self.inputs) != 1:
            problems.append(f"variants come from one file, not from {len(self.inputs)}")
        if self.options.genome is None:
            problems.append("variants need their genome")
        if self.out == STDOUT and self.output_format == "parquet":
            problems.append("parquet cannot be streamed to stdout: choose tsv or vcf, or a file")
        if self.out != STDOUT and format_of(self.out.name) not in (None, self.output_format):
            problems.append(f"format {self.output_format} contradicts the name {self.out}")
        if self.shard and not Path(self.source).is_file():
            problems.append("a shard needs an input that can be read twice: a file")
        return problems

    @property
    def source(self) -> str:
        """The file of the variants."""
        return self.inputs[0]


def run_scores(
    job: ScoreJob, *, on_progress: Callable[[int, int | None], None] = lambda done, total: None
) -> dict[str, Any]:
    """Score all records of a job and give the account of it.

    Memory is a few hundred records, however many there are.

    Args:
        job: What to do.
        on_progress: Told how many records are written, and how many there are if that is known.

    Returns:
        The report: counts, time, memory, versions, outputs.

    Raises:
        VariantError: The input is damaged, or a record does not fit the genome.
        InputError: The input or the genome changed while it was read.
        OutputError: The output exists or cannot be written.
        ModelError: The model is damaged.
    """
    model: Model | TaskModel = load_task(job.task) if job.task else load_model(job.model)
    with Frame(job) as frame, VariantReader(job.source) as reader, ExitStack() as stack:
        if frame.genome is None:
            raise ValueError("a job of scores has a genome")
        part = _part(job)
        scorer = VariantScorer(
            model,
            frame.genome,
            job.config,
            source=reader.name,
            batch_bases=job.batch_bases,
            device=frame.device,
            precision=frame.precision,
        )
        facts = frame.facts(model, _params(job, scorer))
        writer = stack.enter_context(
            writer_of(job.output_format)(
                job.out, reader, scorer.fields, _lines(job, facts), frame.genome.contigs, force=job.force
            )
        )
        skipped: Counter[str] = Counter()
        n_variants = 0
        for site, scored in _scored(job, scorer, reader, part):
            writer.write(site, scored.outcomes)
            n_variants += len(scored.outcomes)
            skipped.update(outcome.reason for outcome in scored.outcomes if outcome.reason)
            if writer.n_records % CHUNK == 0:
                on_progress(writer.n_records, None if part is None else len(part))
        if part is not None and writer.n_records != len(part):
            raise OutputError(f"{len(part):,} records came in, {writer.n_records:,} came out")
        frame.check()
        return frame.report(
            facts,
            writer.finish(),
            n_records=writer.n_records,
            n_variants=n_variants,
            n_scored=n_variants - skipped.total(),
            n_skipped=skipped.total(),
            skipped=dict(skipped),
            n_windows=scorer.reader.n_windows,
            scores=[score.name for score in scorer.fields],
        )


def _scored(
    job: ScoreJob, scorer: VariantScorer, reader: VariantReader, part: range | None
) -> Iterator[tuple[Site, Scored]]:
    """Each record of the part with what became of it, in order."""
    sites = iter(reader)
    if part is not None:
        sites = itertools.islice(sites, part.start, part.stop)
    while chunk := list(itertools.islice(sites, CHUNK)):
        for site, scored in zip(chunk, scorer.score(chunk), strict=True):
            if scored.fault is not None and job.on_error == "fail":
                raise _with_assembly(scored.fault, reader)
            yield site, scored


def _with_assembly(fault: VariantError, reader: VariantReader) -> VariantError:
    """The fault, with what the file says of its assembly."""
    assembly = assembly_of(reader)
    reason = f"{fault.reason} The header says {assembly}" if assembly else fault.reason
    return VariantError(reason, path=fault.path, line=fault.line, record=fault.record, row=fault.row)


def _part(job: ScoreJob) -> range | None:
    """The records of the shard, by index: parts follow each other, so that joined end to end they are the whole."""
    if job.shard is None:
        return None
    with VariantReader(job.source) as reader:
        n_records = sum(1 for _ in reader)
    number, n = job.shard
    return range(n_records * (number - 1) // n, n_records * number // n)


def _params(job: ScoreJob, scorer: VariantScorer) -> dict[str, Any]:
    params = dataclasses.asdict(job.config) | {"window": scorer.window}
    if job.task:
        params.pop("scores")
    return params | ({"shard": str(job.shard)} if job.shard else {})


def _lines(job: ScoreJob, facts: Mapping[str, Any]) -> dict[str, str]:
    """What the header of the output says of the run, a line each."""
    origin, source = facts["provenance"], facts["inputs"][0]
    versions = origin["versions"]
    params = {name: ",".join(v) if isinstance(v, tuple) else v for name, v in facts["params"].items()}
    return {
        "Version": f"{versions['findna']}+torch-{versions['torch']}+pysam-{versions['pysam']}",
        "Command": f"{job.command or 'findna score'}; Date={origin['started']}",
        "Model": f"{'task ' if job.task else ''}{facts['model']['name']}; sha256={facts['model']['sha256']}",
        "Genome": f"{facts['genome']['path']}; digest={facts['genome']['digest']}",
        "Input": f"{source['path']}" + (f"; sha256={source['sha256']}" if "sha256" in source else ""),
        "Parameters": "; ".join(f"{name}={value}" for name, value in params.items()),
    }
