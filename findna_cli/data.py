"""`findna data`: genomes, training windows, and audits of labelled data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from findna.counts import counted
from findna.data.options import WindowsConfig
from findna.settings import names_in, parse_number
from findna_cli.console import say, show, show_rows, write_report
from findna_cli.job import had_nothing_to_do, saying_what_is_kept
from findna_cli.options import Force, Genome, Json, Quiet, check_outputs, flags_of, numeric
from findna_cli.progress import progress

if TYPE_CHECKING:
    from findna.commands.data import Overlap

app = typer.Typer(no_args_is_help=True, help="Download genomes, make training sets, audit labelled splits.")


@app.command()
def fetch(
    name: Annotated[
        str, typer.Argument(help="Name of a UCSC assembly: hg38, hg19, mm10, mm39, ...; with --url, any name.")
    ],
    url: Annotated[
        list[str] | None, typer.Option(help="Download from this URL, not from UCSC; repeat the flag for each mirror.")
    ] = None,
    folder: Annotated[Path | None, typer.Option("--from", help="Copy NAME.2bit or NAME.fa from this folder.")] = None,
    checksum: Annotated[
        str, typer.Option(help="md5:... or sha256:... Default: the checksum that is published next to the file.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Re-download even if cached.")] = False,
    json_file: Json = None,
    quiet: Quiet = False,
) -> None:
    """Download a genome into the cache directory.

    The path of the file goes to stdout, and --genome NAME finds it. An interrupted download resumes. The file gets its
    name when its checksum is correct. Only this command and findna model pull use the network. A cached genome is not
    downloaded again.
    """
    from findna.commands.data import fetch_genome

    with (
        saying_what_is_kept(kept="what is downloaded is kept"),
        progress(f"fetching {name}", total=None, quiet=quiet, unit="bytes") as advance,
    ):
        found = fetch_genome(
            name,
            urls=url or (),
            folder=folder,
            checksum=checksum,
            force=force,
            on_bytes=lambda done, total: advance(done, total=total),
        )
    checked = found.checksum or f"not checked: {found.sha256}"
    what = f"{counted(found.n_contigs, 'contig')}, {counted(found.n_bases, 'base')}; {checked}"
    say(f"{'fetched from ' + found.url if found.is_new else 'cached'}: {what}", quiet=quiet)
    show(found.path)
    write_report(json_file, found._asdict() | {"path": str(found.path)})


@app.command()
@flags_of(WindowsConfig)
def windows(
    sources: Annotated[list[str], typer.Argument(help="FASTA, .2bit or BED files, as FILE or NAME=FILE.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output FASTA, .fa or .fa.gz.")],
    genome: Genome = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(help="Draw from source NAME W times as often; repeat the flag for each source."),
    ] = None,
    holdout: Annotated[
        str, typer.Option(help="Held-out contigs or sources, written to a second file, e.g. chr8,chr20.")
    ] = "",
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="Table, FASTA or BED; skip windows that share 31-mers with its sequences; repeat the flag for each "
            "file."
        ),
    ] = None,
    cut: Annotated[
        list[str] | None,
        typer.Option(
            help="Table or FASTA of sequences, or BED of regions: remove their exact occurrences from the sources; "
            "repeat the flag for each file."
        ),
    ] = None,
    force: Force = False,
    json_file: Json = None,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Make a training set for findna pretrain.

    Windows are drawn from genomes and other sequences. The manifest, NAME.json next to the output, has the sha256 of
    every file, the settings, and the number of skipped windows by reason. The same files, settings and seed give the
    same bytes.
    """
    from findna.commands.data import make_windows, reasons_of

    check_outputs({"out": out, "json_file": json_file}, beside=(".json", ".held-out.fa", ".held-out.fa.gz"))
    config = WindowsConfig(**{name: value for name, value in settings.items() if value is not None})
    with saying_what_is_kept(), progress("drawing windows", total=config.n, quiet=quiet, unit="windows") as advance:
        outcome = make_windows(
            sources,
            out,
            config=config,
            genome=genome,
            weights=parse_weights(weight or []),
            holdout=names_in(holdout),
            exclude=exclude or [],
            cut=cut or [],
            force=force,
            on_draw=advance,
        )
    write_report(json_file, outcome.manifest)
    report = {"outputs": [*map(str, outcome.paths)], "nothing_to_do": not outcome.is_new}
    if had_nothing_to_do(report, quiet=quiet):
        return
    parts = (outcome.manifest["windows"], outcome.manifest["held_out"])
    for path, part in zip(outcome.paths, parts, strict=False):
        say(f"{path}: {counted(part['n_windows'], 'window')}, {counted(part['n_bases'], 'base')}", quiet=quiet)
        say(f"  {part['n_drawn']:,} draws; skipped: {reasons_of(part['n_left_out'])}", quiet=quiet)
    say(f"{outcome.manifest_path}: manifest", quiet=quiet)


def parse_weights(texts: list[str]) -> dict[str, float]:
    """Factors by name.

    Raises:
        ConfigError: A text is not NAME=W, or a name is a duplicate.

    >>> parse_weights(["mouse=0.5"])
    {'mouse': 0.5}
    """
    from findna.errors import ConfigError

    found: dict[str, float] = {}
    for text in texts:
        name, _, factor = text.rpartition("=")
        try:
            weight = parse_number(factor, float)
        except ValueError:
            name = ""
        if not name or name in found:
            raise ConfigError(f"--weight {text}: must be NAME=W, each name once, for instance mouse=0.5")
        found[name] = weight
    return found


@app.command()
def audit(
    files: Annotated[
        list[Path], typer.Argument(help="One table, FASTA or BED file per split, in this order: train, valid, test.")
    ],
    genome: Genome = None,
    threshold: Annotated[
        float,
        typer.Option(parser=numeric(float), help="Minimum fraction of its 16-mers that a near duplicate shares."),
    ] = 0.5,
    sequence_column: Annotated[str, typer.Option(help="Column with the sequence. Default: sequence, seq or dna.")] = "",
    label_column: Annotated[str, typer.Option(help="Column with the label. Default: label, class or target.")] = "",
    fail_on_leak: Annotated[
        bool, typer.Option("--fail-on-leak", help="Exit with code 1 if splits share sequences or labels disagree.")
    ] = False,
    json_file: Json = None,
    quiet: Quiet = False,
) -> None:
    """Find sequences that splits share.

    It also finds sequences with more than one label. Exact duplicates are found on either strand. A near duplicate
    shares at least --threshold of its 16-mers, on either strand, with one sequence of the other split. Two sequences
    that overlap by half reach 0.5, and so do two with 96 % identity.
    """
    from findna.commands import data

    with saying_what_is_kept(), progress("comparing", total=None, quiet=quiet):
        found = data.audit(
            files, genome=genome, threshold=threshold, sequence_column=sequence_column, label_column=label_column
        )
    show_rows(
        ("split", "sequences", "repeated", "other_label"),
        [(one.name, one.n, one.n_repeated, one.n_conflicts) for one in found.within],
    )
    if found.overlaps:
        show("")
        counts = ("exact", "reverse_strand", "near", "other_label", "near_other_label")
        show_rows(("split", "in", *counts, "share"), [_overlap(both) for both in found.overlaps])
    examples = [(both.later, pair, both.earlier) for both in found.overlaps for pair in both.examples]
    examples += [
        (one.name, pair, one.name) for one in found.within for pair in one.examples if len(set(pair.labels)) > 1
    ]
    if examples and not quiet:
        rows = [
            (later, pair.line, pair.labels[0], earlier, pair.of_line, pair.labels[1], f"{pair.share:.4f}")
            for later, pair, earlier in examples
        ]
        show("")
        show_rows(("file", "line", "label", "repeats", "line", "label", "share"), rows)
    write_report(json_file, found.to_dict())
    if fail_on_leak and found.has_leaks:
        raise typer.Exit(1)


def _overlap(both: "Overlap") -> tuple[object, ...]:
    share = (both.n_exact + both.n_near) / max(both.n, 1)
    counts = (both.n_exact, both.n_reverse, both.n_near, both.n_conflicts, both.n_near_conflicts)
    return (both.later, both.earlier, *counts, f"{share:.4f}")
