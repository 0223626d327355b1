"""`findna plot`: a map of the vectors of an embedding file."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from findna.counts import counted
from findna_cli.console import say
from findna_cli.job import had_nothing_to_do, saying_what_is_kept
from findna_cli.options import Force, Quiet, numeric
from findna_cli.progress import progress


def plot(
    path: Annotated[Path, typer.Argument(help="HDF5 file of findna embed.", metavar="FILE.h5")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Figure: .png, .svg or .pdf. Default: NAME.png.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with search, a table and details of each point.")
    ] = None,
    color: Annotated[
        str,
        typer.Option(
            help="Column of the file or of --labels that colours the points. Default: the labels, or else the source."
        ),
    ] = "",
    labels: Annotated[
        Path | None,
        typer.Option(help="TSV or CSV with ids (or BED names) and labels, such as the output of findna classify."),
    ] = None,
    method: Annotated[
        Literal["pca", "tsne"], typer.Option(help="pca: principal components; tsne: t-SNE of the first 50 of them.")
    ] = "pca",
    title: Annotated[str | None, typer.Option(help="Title. Default: file, number of sequences and model.")] = None,
    max_points: Annotated[
        int, typer.Option(parser=numeric(int, 3), help="Show a random sample of this size if there are more sequences.")
    ] = 20_000,
    seed: Annotated[int, typer.Option(parser=numeric(int, 0), help="Seed of the sample and of t-SNE.")] = 0,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Draw a map of the vectors: each point is a sequence, and similar sequences are close.

    With --html and without --out, only the page is written. The page contains its data and needs no network.
    """
    from findna.commands.view import plot as draw

    with saying_what_is_kept(), progress("drawing", total=None, quiet=quiet):
        found = draw(
            path,
            figure=out or (None if html else Path(path.name).with_suffix(".png")),
            page=html,
            title=title,
            color=color,
            labels=labels,
            method=method,
            max_points=max_points,
            seed=seed,
            force=force,
        )
    if had_nothing_to_do(found, quiet=quiet):
        return
    n_labelled = f", coloured by {found['color']}" if found["color"] else ""
    made = f"{found['n_points']:,} of {counted(found['n_rows'], 'sequence')}{n_labelled}"
    absent = f"; {found['n_unlabelled']:,} without a label" if found["n_unlabelled"] else ""
    say(f"{', '.join(found['outputs'])}: {made}{absent}", quiet=quiet)
