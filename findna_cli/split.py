"""`findna split`: the plan of a sharded run, made and checked once."""

from pathlib import Path
from typing import Annotated, Any

import typer

from findna.config import ComputeConfig, RunConfig
from findna.counts import counted
from findna.io.options import InputOptions
from findna_cli.console import say, write_report
from findna_cli.job import had_nothing_to_do, saying_what_is_kept
from findna_cli.options import Force, Inputs, Json, Quiet, flags_of, numeric
from findna_cli.progress import progress
from findna_cli.screens import say_uneven

_OF_A_RUN = (
    *("resume", "force", "workers", "gpus", "shard", "plan"),
    *("device", "precision", "threads", "deterministic"),
)


@flags_of(InputOptions, RunConfig, ComputeConfig, without=_OF_A_RUN)
def split(
    inputs: Inputs,
    out: Annotated[Path, typer.Option("--out", "-o", help="Plan file (JSON).")],
    n_shards: Annotated[int, typer.Option("--n-shards", "-n", parser=numeric(int, 1), help="Number of shards.")],
    variants: Annotated[
        bool, typer.Option("--variants", help="Plan for findna score: the input is one file of variants.")
    ] = False,
    force: Force = False,
    json_file: Json = None,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Check the inputs of a sharded run once, and write where each shard begins.

    `findna embed INPUTS --shard i/n --plan PLAN` then starts at its own records. `findna classify` takes the same plan,
    and `findna score` a plan made with --variants. Give all shards the input options of the plan. The parts equal those
    of `--shard i/n` without a plan. CRAM files, reads of a --region, and regions with --max-n are still read from their
    beginning. For shards on GPUs, give both commands --batch-bases 131072.
    """
    from findna.commands import shards

    with saying_what_is_kept(), progress("splitting", total=None, quiet=quiet):
        report = shards.split(inputs, out, n_shards=n_shards, variants=variants, force=force, **settings)
    write_report(json_file, report)
    if had_nothing_to_do(report, quiet=quiet):
        return
    what = "rows of scores" if variants else "bases"
    found = f"{counted(report['n_records'], 'record')}, {report['n_bases']:,} {what}"
    say_uneven(report, quiet=quiet)
    say(f"{out}: {counted(n_shards, 'shard')}, {found}", quiet=quiet)
