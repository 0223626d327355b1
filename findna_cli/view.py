"""`findna view`: the contents of an embedding file."""

from pathlib import Path
from typing import Annotated

import typer

from findna_cli.console import columns_that_fit, show, show_table
from findna_cli.options import numeric


def view(
    path: Annotated[Path, typer.Argument(help="A file that `findna embed` wrote.")],
    rows: Annotated[int, typer.Option("--rows", "-n", parser=numeric(int, 0), help="Number of rows to print.")] = 5,
    start: Annotated[int, typer.Option(parser=numeric(int, 0), help="First row to print.")] = 0,
    features: Annotated[int, typer.Option(parser=numeric(int, 0), help="Number of values per vector to print.")] = 4,
    header: Annotated[bool, typer.Option("--header/--no-header", help="Print the metadata before the rows.")] = True,
    as_json: Annotated[bool, typer.Option("--as-json", help="Print the metadata as JSON, and no rows.")] = False,
) -> None:
    """Print the contents of an embedding file.

    It prints what the file is and how it was made, the skipped records, and the first rows: aligned on a terminal,
    tab-separated in a pipe or file.
    """
    import json
    import sys

    from findna.commands.view import describe, iter_rows
    from findna_cli.screens import show_file

    summary = describe(path)
    if as_json:
        show(json.dumps(summary, indent=2))
        return
    if header:
        show_file(summary)
        show("")
    if rows and sys.stdout.isatty():
        names, *table = iter_rows(path, start, start + rows, n_features=features)
        n_fitting = columns_that_fit([names, *table])
        show_table(names[:n_fitting], [fields[:n_fitting] for fields in table])
        if n_left := len(names) - n_fitting:
            show(f"({n_left} more columns: findna view {path} | less -S)")
    elif rows:
        for fields in iter_rows(path, start, start + rows, n_features=features):
            show("\t".join(fields))
