"""One run of `findna mutagenesis`: records in, the effects of their changes out."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from findna import __version__
from findna.effect_plots import check_plot, plot_effects, plot_pairs
from findna.errors import ConfigError, InputError
from findna.io.effects import Effects, EffectsWriter
from findna.io.genome import Genome
from findna.io.options import InputOptions
from findna.io.records import read_records
from findna.models.store import DEFAULT, load_model
from findna.models.task import load_task
from findna.nn.device import pick_device, pick_precision
from findna.record import Record
from findna.saturation import BaseMutagenesis, Mutagenesis, TaskMutagenesis


@dataclass(frozen=True)
class MutagenesisJob:
    """All that decides the effects, and where they go.

    Args:
        inputs: Paths, "-" for stdin, or region strings; of one kind.
        out: The output.
        options: How inputs become records.
        model: A shipped model's name or a model folder.
        task: A built-in task's name or a run directory, instead of the model; "" without.
        label: The class of the task; "" is the second one of two.
        with_pairs: Whether the dependencies of positions are computed, too.
        plot: A figure of the first record.
        output_format: h5 or tsv.
        batch_bases: Bases in a batch; 0 is what suits the device.
        device: auto, cpu, cuda, ...
        precision: auto, or of `findna.nn.device.PRECISIONS`.
        force: Replace an existing output.
        command: The command line, for the provenance.

    Raises:
        ConfigError: Two of them contradict each other.
    """

    inputs: Sequence[str]
    out: Path
    options: InputOptions = field(default_factory=InputOptions)
    model: str = DEFAULT
    task: str = ""
    label: str = ""
    with_pairs: bool = False
    plot: Path | None = None
    output_format: str = "h5"
    batch_bases: int = 0
    device: str = "auto"
    precision: str = "auto"
    force: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        if self.with_pairs and self.task:
            raise ConfigError("dependencies are those of a model's bases: a task has none")
        if self.label and not self.task:
            raise ConfigError(f"label {self.label!r} is a class of a task, and no task is given")
        if self.with_pairs and self.output_format == "tsv":
            raise ConfigError("dependencies are written as HDF5, not as TSV")
        if self.plot:
            check_plot(self.plot)


def run_mutagenesis(job: MutagenesisJob, *, on_progress: Callable[[int], None] = lambda n: None) -> dict[str, Any]:
    """Write the effects of all records of a job and give the account of it.

    Raises:
        InputError: An input is damaged, or a record cannot be used.
        OutputError: The output exists or cannot be written.
        ModelError: The model is damaged.
        ConfigError: The task has no such class; a sequence is too long for dependencies.
    """
    started, began = datetime.now(UTC), time.monotonic()
    device = pick_device(job.device)
    precision = pick_precision(job.precision, device)
    model: Mutagenesis
    if job.task:
        task = load_task(job.task)
        facts = {"name": task.name, "sha256": task.sha256}
        model = TaskMutagenesis(task, label=job.label, batch_bases=job.batch_bases, device=device, precision=precision)
    else:
        teacher = load_model(job.model)
        facts = {"name": teacher.name, "sha256": teacher.sha256}
        model = BaseMutagenesis(teacher, batch_bases=job.batch_bases, device=device, precision=precision)
    provenance = {
        "findna": __version__,
        "command": job.command,
        "model": facts,
        "value": model.value,
        "device": device.type,
        "precision": precision.name,
        "started": started.isoformat(timespec="seconds"),
    }
    outputs, n_records, n_bases = [job.out], 0, 0
    with ExitStack() as stack:
        genome = stack.enter_context(Genome(job.options.genome)) if job.options.genome else None
        writer = stack.enter_context(EffectsWriter(job.out, job.output_format, provenance, force=job.force))
        for record in read_records(job.inputs, job.options, genome=genome):
            if isinstance(record, InputError):
                raise record
            effects = _effects_of(model, record, with_pairs=job.with_pairs)
            writer.write(effects)
            if job.plot and not n_records:
                outputs += _draw(effects, job.plot, model.value)
            n_records, n_bases = n_records + 1, n_bases + len(record.codes)
            on_progress(n_records)
    return {
        **provenance,
        "outputs": [str(path) for path in outputs],
        "n_records": n_records,
        "n_bases": n_bases,
        "n_windows": model.n_windows,
        "seconds": round(time.monotonic() - began, 3),
    }


def _effects_of(model: Mutagenesis, record: Record, *, with_pairs: bool) -> Effects:
    pairs = model.dependencies(record.codes) if with_pairs and isinstance(model, BaseMutagenesis) else None
    return Effects(record, model.effects(record.codes), pairs)


def _draw(effects: Effects, path: Path, value: str) -> list[Path]:
    record = effects.record
    first = record.start + 1 if record.chrom and record.strand != "-" else 1
    plot_effects(record.codes, effects.values, path, value=value, title=record.id, first=first)
    if effects.pairs is None:
        return [path]
    beside = path.with_name(f"{path.stem}.pairs{path.suffix}")
    plot_pairs(record.codes, effects.pairs, beside, title=record.id)
    return [path, beside]
