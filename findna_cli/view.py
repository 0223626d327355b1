"""`findna view`: what is in an embedding file."""

from pathlib import Path
from typing import Annotated

import typer

from findna_cli.console import show


def view(
    path: Annotated[Path, typer.Argument(help="A file that `findna embed` wrote.")],
    rows: Annotated[int, typer.Option("--rows", "-n", min=0, help="Rows to print.")] = 5,
    start: Annotated[int, typer.Option("--start", min=0, help="First row to print.")] = 0,
    features: Annotated[int, typer.Option("--features", min=0, help="Values per vector to print.")] = 4,
    header: Annotated[bool, typer.Option("--header/--no-header", help="Print the metadata before the rows.")] = True,
    as_json: Annotated[bool, typer.Option("--as-json", help="Print the metadata as JSON, and no rows.")] = False,
) -> None:
    """Print the contents of an embedding file.

    It prints metadata, the first rows and the skipped records.
    """
    import json

    from findna.io.view import describe, iter_rows

    summary = describe(path)
    if as_json:
        show(json.dumps(summary, indent=2))
        return
    if header:
        for name, value in summary.items():
            text = value if isinstance(value, str) else json.dumps(value)
            show(f"# {name}: {text}")
    if rows:
        for fields in iter_rows(path, start, start + rows, n_features=features):
            show("\t".join(fields))
