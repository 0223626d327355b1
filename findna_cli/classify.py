"""`findna classify`: regions, sequences or reads to labels of a task."""

from pathlib import Path
from typing import Annotated, Any

import typer

from findna.config import ClassifyConfig, ComputeConfig, RunConfig
from findna.errors import ConfigError
from findna.io.options import InputOptions
from findna_cli.console import say
from findna_cli.job import had_nothing_to_do, named_output, run_files
from findna_cli.options import DryRun, Inputs, Json, Quiet, flags_of


@flags_of(ClassifyConfig, InputOptions, RunConfig, ComputeConfig)
def classify(
    inputs: Inputs,
    task: Annotated[str, typer.Option(help="Name of a built-in task (`findna task list`), or a run directory.")],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            help="Output file: .tsv or .tsv.gz (a shard: .h5); '-' is stdout. Default: NAME.predictions.tsv.",
        ),
    ] = "",
    track: Annotated[
        Path | None,
        typer.Option(
            help="With --windows: also write the probability of a class along the genome, as .bedgraph[.gz] or .bw."
        ),
    ] = None,
    label: Annotated[str, typer.Option(help="Class of --track. Default: the second of two classes.")] = "",
    dry_run: DryRun = False,
    json_file: Json = None,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Label regions, sequences or reads with a task model.

    There is one row per record, in input order. The output is a TSV: id, coordinates, label, probability, margin, the
    probability of each class, status. A record that is longer than the task's window has one row, computed from all its
    windows. An interrupted run leaves NAME.partial, and --resume continues it. With --shard, the output is HDF5
    (NAME.part3of16.predictions.h5), and findna merge writes the TSV of all parts.
    """
    from findna import classify_file
    from findna.commands.files import wrong_ending

    name, shard = out.removesuffix(".gz"), settings.get("shard", "")
    path = named_output(inputs, out, "predictions.h5" if shard else "predictions.tsv", shard=shard)
    if out != "-" and name and not shard and not name.endswith((".tsv", ".txt")):
        raise wrong_ending(out, ("tsv", "tsv.gz"))
    if label and track is None:
        raise ConfigError("--label is the class of --track: give both, or none")
    if track is not None:
        from findna.commands import files

        if not settings.get("windows") or settings.get("top") or out == "-":
            raise ConfigError("--track needs --windows, a file for the predictions, and no --top")
        genome, force = settings.get("genome"), bool(settings.get("force"))
        is_allowed = force or bool(settings.get("resume")) or path.is_file()  # a finished run compares both files
        files.refuse_inputs([track], [*inputs, genome])
        files.check_track(track, has_genome=genome is not None, force=is_allowed)
        column = files.column_of(task, label)
    run_files(classify_file, inputs, path, task=task, dry_run=dry_run, json_file=json_file, quiet=quiet, **settings)
    if track is not None and not dry_run:
        is_new = files.write_track(path, track, column, genome=genome, force=force)
        if not had_nothing_to_do({"outputs": [str(track)], "nothing_to_do": not is_new}, quiet=quiet):
            say(f"{track}: {column} along the genome", quiet=quiet)
