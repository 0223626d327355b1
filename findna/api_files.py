"""The Python API for files: vectors and predictions of all their records, in constant memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from findna.config import ClassifyConfig, ComputeConfig, EmbedConfig, RunConfig
from findna.io.formats import Format, infer_format
from findna.io.options import InputOptions
from findna.models.folders import DEFAULT
from findna.runs import dry_run as dry
from findna.runs.classify import ClassifyJob
from findna.runs.embed import EmbedJob
from findna.runs.job import OnProgress, parts_of
from findna.runs.run import run
from findna.settings import make, settings_of, with_settings

Report = dict[str, Any]
"""The report of a run: outputs, n_records, n_rows, n_skipped, n_bases, seconds and more; JSON values."""


@with_settings(EmbedConfig, InputOptions, RunConfig, ComputeConfig)
def embed_file(
    inputs: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    model: str | Path = DEFAULT,
    output_format: Format | None = None,
    dry_run: bool = False,
    command: str = "",
    on_progress: OnProgress = lambda done, total: None,
    **settings: Any,
) -> Report:
    """Write the vectors of all records of files to a file, in constant memory: what `findna embed` runs.

    Args:
        inputs: FASTA, FASTQ, BED, narrowPeak, BAM or CRAM files, "-" for stdin, or region strings.
        out: The output; "-" is stdout (TSV).
        model: A shipped model's name, a model folder or a pulled ORG/NAME.
        output_format: h5, tsv, parquet or npy; None infers it from the name of `out`.
        dry_run: Write nothing; the report has counts, problems, sizes and a time estimate.
        command: The command line, for the provenance.
        on_progress: Called with the number of records written or skipped, and the total (None: not known).
        settings: Fields of `findna.config.EmbedConfig`, `RunConfig`, `ComputeConfig`, `findna.io.options.InputOptions`.

    Returns:
        The report: outputs, n_records, n_rows, n_skipped, n_bases, seconds, peak_memory_bytes, model, params and more.
        Of a run that was finished before, only the counts in the output, and nothing_to_do.

    Raises:
        InputError: An input is missing, empty, damaged, or a record of it cannot be used.
        OutputError: The output exists, is in use, or cannot be written.
        ModelError: The model is not found or damaged.
        ConfigError: A setting is out of range or contradicts another.
    """
    job = EmbedJob(
        _texts(inputs),
        Path(out),
        output_format=infer_format(out, output_format or ""),
        config=EmbedConfig.asked(**_own(EmbedConfig, settings)),
        model=str(model),
        command=command,
        **parts_of(settings),
    )
    return dry.dry_run(job) if dry_run else run(job, on_progress=on_progress)


@with_settings(ClassifyConfig, InputOptions, RunConfig, ComputeConfig)
def classify_file(
    inputs: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    task: str | Path,
    dry_run: bool = False,
    command: str = "",
    on_progress: OnProgress = lambda done, total: None,
    **settings: Any,
) -> Report:
    """Write the predictions of a task model for all records of files as a TSV: what `findna classify` runs.

    Args:
        inputs: As for `embed_file`.
        out: The output; "-" is stdout. A shard writes HDF5, which `findna merge` turns into a TSV.
        task: A built-in task's name, or a run directory of a fine-tuning.
        dry_run: As for `embed_file`.
        command: As for `embed_file`.
        on_progress: As for `embed_file`.
        settings: Fields of `findna.config.ClassifyConfig`, `RunConfig`, `ComputeConfig` and `InputOptions`.

    Returns:
        As for `embed_file`.

    Raises:
        InputError: As for `embed_file`, like the other errors.
    """
    job = ClassifyJob(
        _texts(inputs),
        Path(out),
        output_format=infer_format(out) if settings.get("shard") else "tsv",
        config=make(ClassifyConfig, settings),
        task=str(task),
        command=command,
        **parts_of({**settings, "strand": settings.get("strand") or "bed"}),
    )
    return dry.dry_run(job) if dry_run else run(job, on_progress=on_progress)


def _texts(inputs: str | Path | Sequence[str | Path]) -> list[str]:
    return [str(inputs)] if isinstance(inputs, str | Path) else [str(text) for text in inputs]


def _own(config: type, settings: Mapping[str, object]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name in settings_of(config)}
