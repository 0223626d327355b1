"""`findna split`: the plan of a sharded run, made and checked once."""

from pathlib import Path
from typing import Annotated, Any

import typer

from findna.config import ComputeConfig, RunConfig
from findna.io.options import InputOptions
from findna_cli.console import say, write_report
from findna_cli.options import Force, Inputs, Json, Quiet, flags_of

_OF_A_RUN = (
    *("resume", "force", "workers", "gpus", "shard", "plan"),
    *("device", "precision", "threads", "deterministic"),
)


@flags_of(InputOptions, RunConfig, ComputeConfig, without=_OF_A_RUN)
def split(
    inputs: Inputs,
    out: Annotated[Path, typer.Option("--out", "-o", help="Plan file (JSON).", show_default=False)],
    n_shards: Annotated[int, typer.Option("--n-shards", "-n", min=1, help="Number of shards.", show_default=False)],
    variants: Annotated[
        bool, typer.Option("--variants", help="Plan for findna score: the input is one file of variants.")
    ] = False,
    force: Force = False,
    json_file: Json = None,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Check the inputs of a sharded run once, and write where each shard begins.

    `findna embed INPUTS --shard i/n --plan PLAN` (or `classify`, or with --variants `score`) then starts at its own
    records. Give it the same input options. The parts equal those of `--shard i/n` without a plan. CRAM files, reads of
    a --region, and regions with --max-n are still read from their beginning. For shards on GPUs, give both commands
    --batch-bases 131072.
    """
    from findna.errors import ConfigError, OutputError
    from findna.runs.job import parts_of
    from findna.runs.manifest import split as split_inputs
    from findna.runs.variant_plan import split_variants

    if out.exists() and not force:
        raise OutputError(f"{out}: exists already; --force replaces it")
    parts = parts_of(settings)
    if variants:
        if len(inputs) != 1:
            raise ConfigError(f"variants come from one file, not from {len(inputs)}")
        manifest = split_variants(inputs[0], n_shards=n_shards)
    else:
        manifest = split_inputs(
            inputs,
            parts["options"],
            n_shards=n_shards,
            batch_bases=parts["compute"].batch_bases or 16_384,
            is_fatal=parts["run"].on_error == "fail",
        )
    manifest.write(out)
    counts = {"n_records": manifest.n_records, "n_bases": manifest.n_bases, "n_problems": manifest.n_problems}
    write_report(json_file, {"outputs": [str(out)], "n_shards": n_shards, **counts})
    what = "rows of scores" if variants else "bases"
    say(f"{out}: {n_shards:,} shards, {manifest.n_records:,} records, {manifest.n_bases:,} {what}", quiet=quiet)
