"""The work of commands over files: scores, effects and bases of a model; outputs verified.

A command opens its inputs, and looks at an existing output, before it loads torch, which takes seconds.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from findna.config import BasesConfig, ComputeConfig, MutagenesisConfig, RunConfig, ScoreConfig
from findna.errors import ConfigError
from findna.io.arrays import require_absent
from findna.io.formats import wrong_ending as wrong_ending
from findna.io.options import InputOptions
from findna.io.outputs import finished_meta
from findna.io.tracks import check_track as check_track
from findna.io.tracks import track_format as track_format
from findna.io.watch import refuse_inputs as refuse_inputs
from findna.models.folders import DEFAULT
from findna.runs.bases import BasesJob, predict_bases_of
from findna.runs.finished import n_finished
from findna.runs.job import parts_of
from findna.runs.mutagenesis import MutagenesisJob, run_mutagenesis
from findna.runs.score import run_scores
from findna.runs.score_job import ScoreJob
from findna.settings import make, with_settings

if TYPE_CHECKING:
    from findna.verify import Verification

Report = dict[str, Any]
OnDone = Callable[..., None]
"""Called with the number of records written, and the total if it is known."""


def _silent(done: int, total: int | None = None) -> None:
    """The default of `on_progress`."""


@with_settings(ScoreConfig, RunConfig, ComputeConfig, without=("workers", "gpus"))
def score(
    variants: str | Path,
    out: str | Path,
    *,
    genome: str | Path,
    model: str | Path = "",
    task: str | Path = "",
    output_format: str = "vcf",
    embeddings: str | Path | None = None,
    command: str = "",
    on_progress: OnDone = _silent,
    **settings: Any,
) -> Report:
    """Score the variants of a file: what `findna score` runs; see `findna.score_variants`.

    Args:
        variants: VCF, BCF or TSV, or "-" for stdin.
        out: The output; "-" is stdout.
        genome: Genome of the variants.
        model: A name or folder; "" is the default model.
        task: A task model instead.
        output_format: vcf, bcf, tsv or parquet.
        embeddings: Also write the vectors of REF and ALT to this HDF5 file.
        command: The command line, for the provenance.
        on_progress: Called with the number of records written and the total.
        settings: Of the scores, the run and the computation.

    Raises:
        VariantError: The input is damaged, or a record does not fit the genome.
        OutputError: The output exists and is not of this run, or cannot be written.
        ModelError: The model is damaged.
        ConfigError: Settings contradict each other.
    """
    _refuse_both(model, task)
    config, parts = make(ScoreConfig, settings), parts_of({**settings, "genome": genome})
    job = ScoreJob(
        [str(variants)],
        Path(out),
        config=config,
        model=str(model) or DEFAULT,
        task=str(task),
        output_format=output_format,  # type: ignore[arg-type]
        embeddings=Path(embeddings) if embeddings else None,
        command=command,
        **parts,
    )
    return run_scores(job, on_progress=on_progress)


@with_settings(MutagenesisConfig, InputOptions, RunConfig, ComputeConfig)
def mutagenesis(
    inputs: Sequence[str],
    out: str | Path,
    *,
    model: str | Path = "",
    output_format: str = "h5",
    command: str = "",
    on_progress: OnDone = _silent,
    **settings: Any,
) -> Report:
    """Write the effects of all changes of all records: what `findna mutagenesis` runs; see `findna.mutagenesis`.

    Args:
        inputs: As for `findna.embed_file`.
        out: The output.
        model: A name or folder; "" is the default model.
        output_format: h5 or tsv.
        command: The command line, for the provenance.
        on_progress: Called with the number of records written.
        settings: Of the effects, the inputs, the run and the computation.

    Raises:
        InputError: An input is damaged, or a record cannot be used.
        OutputError: The output exists and is not of this run, or cannot be written.
        ConfigError: Settings contradict each other.
    """
    config, parts = make(MutagenesisConfig, settings), parts_of(settings)
    _refuse_both(model, config.task)
    job = MutagenesisJob(
        inputs,
        Path(out),
        config=config,
        model=str(model) or DEFAULT,
        output_format=output_format,
        command=command,
        **parts,
    )
    return run_mutagenesis(job, on_progress=on_progress)


@with_settings(BasesConfig, InputOptions, RunConfig, ComputeConfig)
def predict_bases(
    inputs: Sequence[str],
    out: str | Path,
    *,
    model: str | Path = "",
    output_format: str = "h5",
    command: str = "",
    on_progress: OnDone = _silent,
    **settings: Any,
) -> Report:
    """Write the predicted bases of all records: what `findna predict-bases` runs; see `findna.predict_bases`.

    Args:
        inputs: As for `findna.embed_file`.
        out: The output.
        model: A name or folder; "" is the default model.
        output_format: h5, bedgraph or bigwig.
        command: The command line, for the provenance.
        on_progress: Called with the number of records written.
        settings: Of the predictions, the inputs, the run and the computation.

    Raises:
        InputError: An input is damaged, or a record cannot be used.
        OutputError: The output exists and is not of this run, or cannot be written.
        ConfigError: Settings contradict each other.
    """
    config, parts = make(BasesConfig, settings), parts_of(settings)
    job = BasesJob(
        inputs,
        Path(out),
        config=config,
        model=str(model) or DEFAULT,
        output_format=output_format,
        command=command,
        **parts,
    )
    return predict_bases_of(job, on_progress=on_progress)


def verify(
    path: str | Path, *, model: str | Path = "", genome: str | Path | None = None, n: int = 20, threads: int = 0
) -> "Verification":
    """Check an output; see `findna.verify.verify`. `threads` is the number of CPU threads; 0: all available CPUs."""
    from findna.nn.device import set_threads
    from findna.verify import verify as verify_output

    set_threads(ComputeConfig(threads=threads).threads)
    return verify_output(Path(path), model=model, genome=Path(genome) if genome else None, n=n)


def column_of(task: str, label: str) -> str:
    """The column of a task's predictions that a track shows; see `findna.window_tracks.track_column`."""
    from findna.models.described import describe_task
    from findna.window_tracks import track_column

    return track_column(describe_task(task), label)


def write_track(
    predictions: str | Path, path: str | Path, column: str, *, genome: str | Path | None = None, force: bool = False
) -> bool:
    """Write a column of predictions as a track; see `findna.window_tracks.write_window_track`.

    Without `force`, an existing track of the same predictions is kept, and the result is False.

    Raises:
        OutputError: Without `force`, the track exists and is of another run.
    """
    from findna.window_tracks import write_window_track

    predictions, path = Path(predictions), Path(path)
    meta = finished_meta(predictions, "tsv") or {}
    facts = {name: meta[name] for name in ("model", "inputs", "genome", "params", "provenance")} | {"column": column}
    if not force and n_finished(path, facts) is not None:
        return False
    require_absent(path, force=force)
    write_window_track(predictions, path, column, facts, genome=genome)
    return True


def _refuse_both(model: str | Path, task: str | Path) -> None:
    if model and task:
        raise ConfigError("give model=NAME or task=NAME: a task has its own model")
