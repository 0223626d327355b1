"""`findna merge`: the parts that `--shard` wrote become one output."""

from pathlib import Path
from typing import Annotated

import typer

from findna.counts import counted
from findna_cli.console import say, write_report
from findna_cli.job import command_line, had_nothing_to_do, saying_what_is_kept
from findna_cli.options import Force, Json, Quiet
from findna_cli.progress import progress


def merge(
    parts: Annotated[
        list[Path],
        typer.Argument(help="Parts of all shards, in any order: HDF5 or Parquet, or outputs of findna score."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output file.")],
    output_format: Annotated[
        str, typer.Option("--format", help="h5, tsv, parquet or npy. Default: inferred from the output's name.")
    ] = "",
    virtual: Annotated[
        bool,
        typer.Option(
            "--virtual",
            help="Point to the rows of the parts instead of copying them (HDF5). The parts must stay in the output's "
            "folder.",
        ),
    ] = False,
    force: Force = False,
    json_file: Json = None,
    quiet: Quiet = False,
) -> None:
    """Join the parts of a sharded run into one output.

    The output equals that of a single run. A part that is missing, duplicate, incomplete, or from another input, model
    or setting is an error. Token files next to the parts are joined too. Scores keep the format of their parts. With
    --virtual, the merge takes little time and space: the output points to the parts, and reads like a copy. Parts of
    vectors in Parquet become a folder of links to them, which Parquet readers read as one table.
    """
    from findna.commands import shards

    with saying_what_is_kept(), progress("merging", total=None, quiet=quiet):
        report = shards.merge(
            parts, out, output_format=output_format, virtual=virtual, force=force, command=command_line()
        )
    write_report(json_file, report)
    if had_nothing_to_do(report, quiet=quiet):
        return
    is_scores = "n_skipped" not in report
    found = (
        counted(report["n_records"], "record")
        if is_scores
        else f"{counted(report['n_rows'], 'row')}, {report['n_skipped']:,} skipped,"
    )
    say(f"{', '.join(report['outputs'])}: {found} from {counted(report['n_parts'], 'part')}", quiet=quiet)
