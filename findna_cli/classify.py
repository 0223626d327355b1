"""`findna classify`: regions, sequences or reads to labels."""

from pathlib import Path
from typing import Annotated

import typer

from findna.errors import ConfigError
from findna_cli.job import command_line, default_output, run_job
from findna_cli.options import (
    BatchBases,
    Center,
    Deterministic,
    Device,
    DryRun,
    ExcludeFlags,
    Force,
    Genome,
    Gpus,
    InFormat,
    Inputs,
    Json,
    MaxN,
    MinMapq,
    OnError,
    Precision,
    Quiet,
    ReadsRegion,
    ReferenceBases,
    Resume,
    Size,
    Split,
    Threads,
    Workers,
    parse_flags,
    set_threads,
)


def classify(
    inputs: Inputs,
    task: Annotated[
        str, typer.Option("--task", help="Name of a built-in task (`findna task list`), or a run directory.")
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            help="Output file, .tsv or .tsv.gz; '-' is stdout. Default: NAME.predictions.tsv.",
            show_default=False,
        ),
    ] = "",
    genome: Genome = None,
    abstain: Annotated[
        float, typer.Option("--abstain", help="Label a row `unknown` if its margin is below this; 0: never.")
    ] = 0.0,
    top: Annotated[
        int, typer.Option("--top", min=0, help="Write only the K most probable classes, best first; 0: all.")
    ] = 0,
    windows: Annotated[bool, typer.Option("--windows", help="One row per window of the task's length.")] = False,
    strand: Annotated[
        str,
        typer.Option(
            "--strand",
            help="bed (each record's own), +, -, or both (their mean). Default: the task's own.",
            show_default=False,
        ),
    ] = "",
    in_format: InFormat = "",
    split: Split = False,
    size: Size = 0,
    center: Center = "middle",
    max_n: MaxN = 1.0,
    region: ReadsRegion = "",
    min_mapq: MinMapq = 0,
    exclude_flags: ExcludeFlags = "0x900",
    reference_bases: ReferenceBases = False,
    on_error: OnError = "fail",
    resume: Resume = False,
    force: Force = False,
    dry_run: DryRun = False,
    batch_bases: BatchBases = 0,
    workers: Workers = 1,
    gpus: Gpus = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    deterministic: Deterministic = False,
    json_file: Json = None,
    quiet: Quiet = False,
) -> None:
    """Label regions, sequences or reads with a task model.

    There is one row per record, in input order. The output is a TSV: id, coordinates, label, probability, margin, the
    probability of each class, status. A record that is longer than the task's window has one row, computed from all its
    windows. An interrupted run leaves NAME.partial, and --resume continues it.
    """
    from findna.config import ClassifyConfig
    from findna.io.options import InputOptions
    from findna.job import ClassifyJob

    name = out.removesuffix(".gz")
    if out != "-" and name and not name.endswith((".tsv", ".txt")):
        raise ConfigError(f"-o {out}: predictions are a TSV; name it {Path(name).stem}.tsv or {Path(name).stem}.tsv.gz")
    job = ClassifyJob(
        inputs,
        Path(out or default_output(inputs, "predictions.tsv")),
        options=InputOptions(
            in_format=in_format or None,
            genome=genome,
            split=split,
            size=size or None,
            center=center,
            max_n=max_n,
            strand=strand or "bed",
            region=region or None,
            min_mapq=min_mapq,
            exclude_flags=parse_flags(exclude_flags),
            reference_bases=reference_bases,
        ),
        config=ClassifyConfig(strand=strand, windows=windows, abstain=abstain, top=top, batch_bases=batch_bases),
        task=task,
        device=device,
        precision=precision,
        on_error=on_error,
        resume=resume,
        force=force,
        command=command_line(),
        workers=workers,
        gpus=gpus,
    )
    set_threads(threads, deterministic=deterministic)
    run_job(job, "classify", dry_run=dry_run, json_file=json_file, quiet=quiet)
