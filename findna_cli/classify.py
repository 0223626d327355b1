"""`findna classify`: regions, sequences or reads to labels of a task."""

from pathlib import Path
from typing import Annotated, Any

import typer

from findna.config import ClassifyConfig, ComputeConfig, RunConfig
from findna.errors import ConfigError
from findna.io.options import InputOptions
from findna_cli.job import named_output, run_files
from findna_cli.options import DryRun, Inputs, Json, Quiet, flags_of


@flags_of(ClassifyConfig, InputOptions, RunConfig, ComputeConfig, without=("shard", "plan"))
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
    dry_run: DryRun = False,
    json_file: Json = None,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Label regions, sequences or reads with a task model.

    There is one row per record, in input order. The output is a TSV: id, coordinates, label, probability, margin, the
    probability of each class, status. A record that is longer than the task's window has one row, computed from all its
    windows. An interrupted run leaves NAME.partial, and --resume continues it.
    """
    from findna.api import classify_file

    name = out.removesuffix(".gz")
    if out != "-" and name and not name.endswith((".tsv", ".txt")):
        raise ConfigError(f"-o {out}: predictions are a TSV; name it {Path(name).stem}.tsv or {Path(name).stem}.tsv.gz")
    path = named_output(inputs, out, "predictions.tsv")
    run_files(classify_file, inputs, path, task=task, dry_run=dry_run, json_file=json_file, quiet=quiet, **settings)
