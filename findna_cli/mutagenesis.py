"""`findna mutagenesis`: every base to every other."""

from pathlib import Path
from typing import Annotated

import typer

from findna.errors import ConfigError
from findna_cli.job import command_line, default_output, run_framed
from findna_cli.options import (
    BatchBases,
    Device,
    Force,
    Genome,
    InFormat,
    Inputs,
    Json,
    ModelName,
    OnError,
    Precision,
    Quiet,
    Size,
    Threads,
    set_threads,
)

_ENDINGS = {".h5": "h5", ".hdf5": "h5", ".tsv": "tsv"}


def mutagenesis(
    inputs: Inputs,
    out: Annotated[
        str,
        typer.Option("--out", "-o", help="Output, .h5 or .tsv. Default: NAME.mutagenesis.h5.", show_default=False),
    ] = "",
    genome: Genome = None,
    model: ModelName = None,
    task: Annotated[
        str,
        typer.Option(
            "--task",
            help="Measure a task's class: a built-in task's name or a run directory.",
            show_default=False,
        ),
    ] = "",
    label: Annotated[
        str,
        typer.Option("--label", help="Class of the task; default: the second one of two.", show_default=False),
    ] = "",
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Add the map of dependencies between positions (not with --task).")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            help="Figure of the first record (.png, .svg, .pdf); --pairs adds NAME.pairs.png.",
            show_default=False,
        ),
    ] = None,
    output_format: Annotated[
        str, typer.Option("--format", help="h5 or tsv; default: by the output's name.", show_default=False)
    ] = "",
    in_format: InFormat = "",
    size: Size = 0,
    on_error: OnError = "fail",
    force: Force = False,
    batch_bases: BatchBases = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    json_file: Json = None,
    quiet: Quiet = False,
) -> None:
    """Mutate each base to each other base and measure the effect, on both strands.

    Without --task the effect is the log-probability of each base minus that of the reference base, which is masked.
    With --task it is the change of the log-odds of a class (of a regression, of the value).

    Examples: `findna mutagenesis chr20:10,000,001-10,000,400 -g hg19.fa --task promoter-tata -o ism.h5 --plot ism.png`;
    `findna mutagenesis seqs.fa -o effects.tsv`
    """
    from findna.io.options import InputOptions
    from findna.models.store import DEFAULT
    from findna.mutagenesis_run import MutagenesisJob, run_mutagenesis

    if model and task:
        raise ConfigError("--model and --task: give one of them; a task has its own model")
    kind = output_format or _ENDINGS.get(Path(out).suffix, "" if out else "h5")
    if kind not in ("h5", "tsv") or _ENDINGS.get(Path(out).suffix, kind) != kind:
        raise ConfigError(f"-o {out or '(none)'}, --format {output_format or '(none)'}: the output is .h5 or .tsv")
    job = MutagenesisJob(
        inputs,
        Path(out or default_output(inputs, f"mutagenesis.{kind}")),
        options=InputOptions(in_format=in_format or None, genome=genome, size=size or None),
        model=model or DEFAULT,
        task=task,
        label=label,
        with_pairs=pairs,
        plot=plot,
        output_format=kind,
        batch_bases=batch_bases,
        device=device,
        precision=precision,
        on_error=on_error,
        force=force,
        command=command_line(),
    )
    set_threads(threads)
    counts = ("records", "bases", "windows", "skipped")
    run_framed("mutagenesis", run_mutagenesis, job, json_file=json_file, quiet=quiet, counts=counts)
