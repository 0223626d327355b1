"""`findna merge`: the parts that `--shard` wrote become one output."""

from pathlib import Path
from typing import Annotated

import typer

from findna_cli.console import say, write_report
from findna_cli.job import command_line
from findna_cli.options import Force, Json, Quiet


def merge(
    parts: Annotated[
        list[Path],
        typer.Argument(help="Parts of all shards, in any order: HDF5 or Parquet, or outputs of findna score."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output file.", show_default=False)],
    output_format: Annotated[
        str,
        typer.Option(
            "--format", help="Of vectors: h5, tsv, parquet or npy. Default: by the output's name.", show_default=False
        ),
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
    vectors in Parquet become a folder of links to them, which Parquet readers take as one table.
    """
    from findna.errors import ConfigError
    from findna.io.formats import infer_format
    from findna.io.score_files import format_of
    from findna.runs.merge import merge as merge_parts
    from findna.runs.merge_parquet import holds_vectors, merge_parquet
    from findna.runs.merge_scores import merge_scores

    is_parquet = holds_vectors(parts[0])
    if is_parquet:
        if infer_format(out, output_format) != "parquet":
            raise ConfigError(f"-o {out}: Parquet parts become a folder, named as NAME.parquet")
        report = merge_parquet(parts, out, force=force, command=command_line())
    elif format_of(parts[0].name):
        if virtual:
            raise ConfigError("--virtual is for vectors in HDF5, not for scores")
        report = merge_scores(parts, out, force=force, command=command_line())
        write_report(json_file, report)
        found = f"{report['n_records']:,} records of {report['n_parts']:,} parts"
        say(f"{', '.join(report['outputs'])}: {found}", quiet=quiet)
        return
    else:
        kind = infer_format(out, output_format)
        report = merge_parts(parts, out, output_format=kind, virtual=virtual, force=force, command=command_line())
    write_report(json_file, report)
    say(
        f"{', '.join(report['outputs'])}: {report['n_rows']:,} rows, {report['n_skipped']:,} skipped, "
        f"of {report['n_parts']:,} parts",
        quiet=quiet,
    )
