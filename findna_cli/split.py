"""`findna split`: the plan of a sharded run, made and checked once."""

from pathlib import Path
from typing import Annotated

import typer

from findna_cli.console import say, write_report
from findna_cli.options import (
    BatchBases,
    Center,
    ExcludeFlags,
    Force,
    Genome,
    InFormat,
    Inputs,
    Json,
    MaxN,
    MinMapq,
    OnError,
    Quiet,
    ReadsRegion,
    ReferenceBases,
    Size,
    Split,
    Strand,
    parse_flags,
)


def split(
    inputs: Inputs,
    out: Annotated[Path, typer.Option("--out", "-o", help="Plan file (JSON).", show_default=False)],
    n_shards: Annotated[int, typer.Option("--n-shards", "-n", min=1, help="Number of shards.", show_default=False)],
    genome: Genome = None,
    in_format: InFormat = "",
    strand: Strand = "bed",
    split: Split = False,
    size: Size = 0,
    center: Center = "middle",
    max_n: MaxN = 1.0,
    region: ReadsRegion = "",
    min_mapq: MinMapq = 0,
    exclude_flags: ExcludeFlags = "0x900",
    reference_bases: ReferenceBases = False,
    on_error: OnError = "fail",
    batch_bases: BatchBases = 0,
    force: Force = False,
    json_file: Json = None,
    quiet: Quiet = False,
) -> None:
    """Check the inputs of a sharded run once, and write where each shard begins.

    `findna embed INPUTS --shard i/n --plan PLAN` then starts at its own records. Give it the same input options. The
    parts equal those of `--shard i/n` without a plan. Reads (BAM, CRAM), and regions with --max-n, are still read from
    their beginning. For shards on GPUs, give both commands --batch-bases 131072.
    """
    from contextlib import nullcontext

    from findna.errors import OutputError
    from findna.io.genome import Genome as OpenGenome
    from findna.io.options import InputOptions
    from findna.manifest import split as split_inputs

    if out.exists() and not force:
        raise OutputError(f"{out}: exists already; --force replaces it")
    options = InputOptions(
        in_format=in_format or None,
        genome=genome,
        split=split,
        size=size or None,
        center=center,
        max_n=max_n,
        strand=strand,
        region=region or None,
        min_mapq=min_mapq,
        exclude_flags=parse_flags(exclude_flags),
        reference_bases=reference_bases,
    )
    with OpenGenome(genome) if genome else nullcontext() as opened:
        manifest = split_inputs(
            inputs,
            options,
            n_shards=n_shards,
            batch_bases=batch_bases or 16_384,
            genome=opened,
            is_fatal=on_error == "fail",
        )
    manifest.write(out)
    counts = {"n_records": manifest.n_records, "n_bases": manifest.n_bases, "n_problems": manifest.n_problems}
    write_report(json_file, {"outputs": [str(out)], "n_shards": n_shards, **counts})
    say(f"{out}: {n_shards:,} shards, {manifest.n_records:,} records, {manifest.n_bases:,} bases", quiet=quiet)
