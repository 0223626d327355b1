"""One run of `findna mutagenesis`: records in, the effects of their changes out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from findna.config import MutagenesisConfig
from findna.effect_plots import check_plot, plot_effects, plot_pairs
from findna.effect_values import OF_A_MODEL, of_a_task
from findna.io.arrays import require_absent
from findna.io.effects import Effects, EffectsWriter
from findna.io.record_spool import Arrays
from findna.models.described import ModelFacts, TaskFacts, describe_model, describe_task
from findna.models.folders import DEFAULT
from findna.record import Record
from findna.region import Region
from findna.runs.frame import Frame
from findna.runs.job import STDOUT, OnProgress, RunJob

if TYPE_CHECKING:
    from findna.saturation import Mutagenesis


@dataclass(frozen=True)
class MutagenesisJob(RunJob):
    """The settings and output of the effects.

    Args:
        config: The settings of the effects.
        model: A shipped model's name or a model folder.
        output_format: h5 or tsv.
    """

    config: MutagenesisConfig = field(default_factory=MutagenesisConfig)
    model: str = DEFAULT
    output_format: str = "h5"

    @property
    def plot(self) -> Path | None:
        """The figure of the first record."""
        return Path(self.config.plot) if self.config.plot else None

    def _problems(self) -> list[str]:
        problems = ["the output cannot be streamed to stdout: give a file"] if self.out == STDOUT else []
        if self.config.pairs and self.output_format == "tsv":
            problems.append("dependencies are written as HDF5, not as TSV")
        if self.plot:
            check_plot(self.plot)
        return problems


def run_mutagenesis(job: MutagenesisJob, *, on_progress: OnProgress = lambda done, total: None) -> dict[str, Any]:
    """Write the effects of all records of a job; returns the report.

    Results are kept beside the output until this is complete; a resumed run computes only the missing ones.

    Raises:
        InputError: An input is damaged, or a record cannot be used.
        OutputError: The output exists or cannot be written.
        ModelError: The model is damaged.
        ConfigError: The task has no such class.
    """
    with Frame(job) as frame:
        model: ModelFacts | TaskFacts = describe_task(job.config.task) if job.config.task else describe_model(job.model)
        asked = frame.asked(model, {"value": _value(job, model), "pairs": job.config.pairs, **job.options.facts()})
        longest = model.window if job.config.pairs else 0
        records = frame.records(longest=longest)
        outputs, n_bases = [job.out], 0
        if (n_finished := frame.n_finished(asked, longest=longest)) is not None:
            if job.plot and not job.plot.exists():
                _refuse_figures(job)
                first, engine = next(records), _engine(job, model, frame)
                outputs += _draw(Effects(first, *_arrays_of(engine, job, [first])[0]), job.plot, engine)
            return frame.report(asked, outputs, n_resumed=n_finished, nothing_to_do=True)
        _refuse_figures(job)
        engine, facts = _engine(job, model, frame), frame.facts(asked)
        on_progress(0, frame.n_expected)
        with frame.arrays(facts) as spool:
            temp = spool.temp(job.out)
            with EffectsWriter(job.out, job.output_format, facts, skipped=frame.skipped, temp=temp) as writer:
                for record, arrays in spool.through(records, partial(_arrays_of, engine, job)):
                    effects = Effects(record, *arrays)
                    writer.write(effects)
                    on_progress(frame.n_records, frame.n_expected)
                    if job.plot and not n_bases:
                        outputs += _draw(effects, job.plot, engine)
                    n_bases += len(record.codes)
        counts = {"n_bases": n_bases, "n_windows": engine.n_windows}
        return frame.report(facts, outputs, n_resumed=spool.n_done, **counts)


def _value(job: MutagenesisJob, model: ModelFacts | TaskFacts) -> str:
    """The meaning of the effects, for the output."""
    if isinstance(model, ModelFacts):
        return OF_A_MODEL.value
    return of_a_task(model.settings, job.config.label, task=model.name).value


def _engine(job: MutagenesisJob, model: ModelFacts | TaskFacts, frame: Frame) -> "Mutagenesis":
    from findna.models.store import model_of_facts  # loads torch: not for a finished run
    from findna.models.task import task_of_facts
    from findna.saturation import BaseMutagenesis, TaskMutagenesis

    if isinstance(model, ModelFacts):
        return BaseMutagenesis(model_of_facts(model), compute=frame.compute)
    return TaskMutagenesis(task_of_facts(model), label=job.config.label, compute=frame.compute)


def _arrays_of(engine: "Mutagenesis", job: MutagenesisJob, records: Sequence[Record]) -> Sequence[Arrays]:
    """The effects of each record, and the dependencies if requested."""
    from findna.saturation import BaseMutagenesis

    found = [[engine.effects(record.codes)] for record in records]
    if job.config.pairs and isinstance(engine, BaseMutagenesis):
        for arrays, record in zip(found, records, strict=True):
            arrays.append(engine.dependencies(record.codes))
    return found


def _draw(effects: Effects, path: Path, engine: "Mutagenesis") -> list[Path]:
    record = effects.record
    is_forward = bool(record.chrom) and record.strand != "-"
    first = record.start + 1 if is_forward else 1
    title = str(Region(record.chrom, record.start, record.end)) if is_forward else record.id
    about = {"value": engine.value, "unit": engine.unit, "title": title}
    plot_effects(record.codes, effects.values, path, **about, first=first)
    paths = _figures(path, with_pairs=effects.pairs is not None)
    if effects.pairs is not None:
        plot_pairs(record.codes, effects.pairs, paths[1], title=title, first=first)
    return paths


def _refuse_figures(job: MutagenesisJob) -> None:
    for path in _figures(job.plot, with_pairs=job.config.pairs) if job.plot else []:
        require_absent(path, force=job.run.force or job.run.resume)


def _figures(path: Path, *, with_pairs: bool) -> list[Path]:
    return [path, path.with_name(f"{path.stem}.pairs{path.suffix}")] if with_pairs else [path]
