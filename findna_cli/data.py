"""`findna data`: what there is to know of labelled data before it is trained on."""

from pathlib import Path
from typing import Annotated

import typer

from findna_cli.options import Json, Quiet

app = typer.Typer(no_args_is_help=True, help="Labelled data: audit its splits.")


@app.command()
def audit(
    files: Annotated[
        list[Path],
        typer.Argument(help="A table or FASTA for each split, in the order of their use: train, valid, test."),
    ],
    threshold: Annotated[
        float, typer.Option("--threshold", help="Share of 16-mers from which on a sequence is a near duplicate.")
    ] = 0.5,
    sequence_column: Annotated[
        str, typer.Option("--sequence-column", help="Column with the bases; default: sequence.", show_default=False)
    ] = "",
    label_column: Annotated[
        str, typer.Option("--label-column", help="Column with the labels; default: label.", show_default=False)
    ] = "",
    fail_on_leak: Annotated[
        bool, typer.Option("--fail-on-leak", help="Exit with 1 if splits share sequences or labels disagree.")
    ] = False,
    json_file: Json = None,
    quiet: Quiet = False,
) -> None:
    """Look for sequences that are in more than one split, or twice under different labels.

    Exact duplicates count on either strand. A near duplicate has --threshold of its 16-mers, on either strand, in one
    sequence of the other split: two that overlap by half reach 0.5, and so do two that are 96 % identical.
    """
    from findna.benchmark.audit import audit as run
    from findna.benchmark.audit import read_splits
    from findna.errors import ConfigError
    from findna_cli.console import write_report

    if not 0 < threshold <= 1:
        raise ConfigError(f"--threshold {threshold:g}: must lie above 0 and be at most 1")
    splits = read_splits(files, sequence_column=sequence_column, label_column=label_column)
    found = run(splits, threshold=threshold)
    typer.echo("split\tsequences\trepeated\tother_label")
    for one in found.within:
        typer.echo(f"{one.name}\t{one.n}\t{one.n_repeated}\t{one.n_conflicts}")
    if found.overlaps:
        typer.echo("\nsplit\tin\texact\treverse_strand\tnear\tother_label\tnear_other_label\tshare")
    for both in found.overlaps:
        cells = (both.n_exact, both.n_reverse, both.n_near, both.n_conflicts, both.n_near_conflicts)
        share = (both.n_exact + both.n_near) / max(both.n, 1)
        typer.echo("\t".join([both.later, both.earlier, *map(str, cells), f"{share:.4f}"]))
    examples = [(both.later, pair, both.earlier) for both in found.overlaps for pair in both.examples]
    examples += [
        (one.name, pair, one.name) for one in found.within for pair in one.examples if len(set(pair.labels)) > 1
    ]
    if examples and not quiet:
        typer.echo("\nfile\tline\tlabel\trepeats\tline\tlabel\tshare")
    for later, pair, earlier in [] if quiet else examples:
        cells_of = (later, pair.line, pair.labels[0], earlier, pair.of_line, pair.labels[1], f"{pair.share:.4f}")
        typer.echo("\t".join(map(str, cells_of)))
    write_report(json_file, found.to_dict())
    if fail_on_leak and found.has_leaks:
        raise typer.Exit(1)
