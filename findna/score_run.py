"""One run of `findna score`: records in, the same records with scores out, and the account of it."""

import dataclasses
import itertools
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from findna import __version__
from findna.errors import ConfigError, OutputError, VariantError
from findna.io.compressed import STDIN
from findna.io.files import sha256
from findna.io.genome import Genome
from findna.io.scores import STDOUT, Format, format_of, writer_of
from findna.io.vcf import Site, VariantReader, assembly_of
from findna.io.watch import Watch
from findna.job import peak_memory_bytes
from findna.models.store import DEFAULT, Model, load_model
from findna.models.task import TaskModel, load_task
from findna.nn.device import pick_device, pick_precision
from findna.shard import Shard
from findna.variants import CHUNK, ScoreConfig, Scored, VariantScorer

_LIBRARIES = ("torch", "numpy", "pysam")


@dataclass(frozen=True)
class ScoreJob:
    """All that decides the scores, and where they go.

    Args:
        source: A VCF, BCF or TSV file, or "-" for stdin.
        out: The output; "-" is stdout.
        genome: FASTA or .2bit that the variants were called on.
        config: What is computed.
        model: A shipped model's name or a model folder.
        task: A built-in task's name or a run directory, instead of the model; "" without.
        output_format: vcf, tsv or parquet.
        device: auto, cpu, cuda, ...
        precision: auto, or of `findna.nn.device.PRECISIONS`.
        on_error: "fail" ends the run at a record that does not fit the genome, "skip" lists it as skipped.
        force: Replace an existing output.
        command: The command line, for the provenance.
        shard: The part of the records to score; None is all.

    Raises:
        ConfigError: Two of them contradict each other.
    """

    source: str
    out: Path
    genome: Path
    config: ScoreConfig = field(default_factory=ScoreConfig)
    model: str = DEFAULT
    task: str = ""
    output_format: Format = "vcf"
    device: str = "auto"
    precision: str = "auto"
    on_error: str = "fail"
    force: bool = False
    command: str = ""
    shard: Shard | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.on_error not in ("fail", "skip"):
            problems.append(f"on_error must be fail or skip, not {self.on_error!r}")
        if self.out == STDOUT and self.output_format == "parquet":
            problems.append("parquet cannot be streamed to stdout: choose tsv or vcf, or a file")
        if self.out != STDOUT and format_of(self.out.name) not in (None, self.output_format):
            problems.append(f"format {self.output_format} contradicts the name {self.out}")
        if self.shard and not Path(self.source).is_file():
            problems.append("a shard needs an input that can be read twice: a file")
        for path in (Path(self.source), self.genome):
            if self.out.is_file() and path.is_file() and self.out.samefile(path):
                problems.append(f"{self.out} is an input and would be replaced: choose another output")
        if problems:
            raise ConfigError("; ".join(problems))


def run_scores(
    job: ScoreJob, *, on_progress: Callable[[int, int | None], None] = lambda done, total: None
) -> dict[str, Any]:
    """Score all records of a job and give the account of it.

    Memory is a few hundred records, however many there are.

    Args:
        job: What to do.
        on_progress: Told how many records are written, and how many there are if that is known.

    Returns:
        The report: counts, throughput, memory, versions, outputs.

    Raises:
        VariantError: The input is damaged, or a record does not fit the genome.
        InputError: The input or the genome changed while it was read.
        OutputError: The output exists or cannot be written.
        ModelError: The model is damaged.
    """
    started, began = datetime.now(UTC), time.monotonic()
    watch = Watch([job.source, job.genome])
    with ExitStack() as stack:
        genome = stack.enter_context(Genome(job.genome))
        part = _part(job)
        reader = stack.enter_context(VariantReader(job.source))
        device = pick_device(job.device)
        precision = pick_precision(job.precision, device)
        model: Model | TaskModel = load_task(job.task) if job.task else load_model(job.model)
        scorer = VariantScorer(model, genome, job.config, source=reader.name, device=device, precision=precision)
        params = {**_params(job, scorer), "device": device.type, "precision": precision.name}
        facts = _facts(job, model, genome, params, started)
        writer = stack.enter_context(
            writer_of(job.output_format)(job.out, reader, scorer.fields, facts, genome.contigs, force=job.force)
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
        watch.check()
        outputs = writer.finish()
        seconds = time.monotonic() - began
        n_windows = scorer.reader.n_windows
    return {
        "findna": __version__,
        "outputs": [str(path) for path in outputs],
        "n_records": writer.n_records,
        "n_variants": n_variants,
        "n_scored": n_variants - sum(skipped.values()),
        "n_skipped": sum(skipped.values()),
        "skipped": dict(skipped),
        "n_windows": n_windows,
        "seconds": round(seconds, 3),
        "windows_per_second": round(n_windows / max(seconds, 1e-9), 3),
        "peak_memory_bytes": peak_memory_bytes(),
        "scores": [score.name for score in scorer.fields],
        "model": {"name": model.name, "sha256": model.sha256},
        "genome": {"path": str(genome.path), "n_contigs": len(genome.contigs), "digest": genome.digest},
        "inputs": [{"path": job.source}],
        "params": params,
        "provenance": {
            "command": job.command,
            "versions": {"findna": __version__, "python": platform.python_version()}
            | {name: version(name) for name in _LIBRARIES},
            "started": started.isoformat(timespec="seconds"),
        },
    }


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


def _facts(
    job: ScoreJob, model: Model | TaskModel, genome: Genome, params: Mapping[str, Any], started: datetime
) -> dict[str, str]:
    """What the header of the output says of the run."""
    is_file = job.source != STDIN and Path(job.source).is_file()
    return {
        "Version": f"{__version__}+torch-{torch.__version__}+pysam-{version('pysam')}",
        "Command": f"{job.command or 'findna score'}; Date={started.isoformat(timespec='seconds')}",
        "Model": f"{'task ' if job.task else ''}{model.name}; sha256={model.sha256}",
        "Genome": f"{job.genome}; digest={genome.digest}",
        "Input": f"{job.source}" + (f"; sha256={sha256(Path(job.source))}" if is_file else ""),
        "Parameters": "; ".join(
            f"{name}={','.join(value) if isinstance(value, tuple) else value}" for name, value in params.items()
        ),
    }
