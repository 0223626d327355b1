"""`findna embed`: regions, sequences or reads to vectors."""

import re
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from findna.errors import ConfigError
from findna_cli.options import Deterministic, Device, Genome, Json, Precision, Quiet, Threads, set_threads

_ENDINGS = {".h5": "h5", ".h5ad": "h5", ".hdf5": "h5", ".tsv": "tsv", ".parquet": "parquet", ".npy": "npy"}


def embed(
    inputs: Annotated[
        list[str],
        typer.Argument(help="FASTA, FASTQ, BED, narrowPeak, BAM or CRAM files, '-' for stdin, or chrom:start-end."),
    ],
    out: Annotated[
        str,
        typer.Option("--out", "-o", help="Output; '-' is stdout (TSV). Default: the input's name.", show_default=False),
    ] = "",
    genome: Genome = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="A shipped model's name or a model folder.", show_default=False)
    ] = "",
    in_format: Annotated[
        str,
        typer.Option(
            "--in-format",
            help="fasta, fastq, bed, narrowpeak, bam, cram or region; default: by content.",
            show_default=False,
        ),
    ] = "",
    output_format: Annotated[
        str,
        typer.Option("--format", help="h5, tsv, parquet or npy; default: by the output's name.", show_default=False),
    ] = "",
    pool: Annotated[
        str, typer.Option("--pool", help="mean, cls, max or tokens; cls and tokens also beside another: mean,cls.")
    ] = "mean",
    layer: Annotated[int, typer.Option("--layer", help="Layer to read; 0 is the stem, -1 the last.")] = -1,
    window: Annotated[int, typer.Option("--window", help="Bases in a window; 0 is the model's own.")] = 0,
    stride: Annotated[int, typer.Option("--stride", help="Bases between windows; 0 is the window.")] = 0,
    strand: Annotated[
        str, typer.Option("--strand", help="bed (each record's own), +, -, or both (their mean).")
    ] = "bed",
    dtype: Annotated[str, typer.Option("--dtype", help="float32, or float16 at half the size.")] = "float32",
    split: Annotated[bool, typer.Option("--split", help="Join the blocks of BED12 regions.")] = False,
    size: Annotated[int, typer.Option("--size", min=0, help="Recentre regions to so many bases; 0 leaves them.")] = 0,
    center: Annotated[str, typer.Option("--center", help="Center for --size: middle or summit.")] = "middle",
    max_n: Annotated[float, typer.Option("--max-n", help="Skip records with a larger share of N.")] = 1.0,
    region: Annotated[
        str, typer.Option("--region", help="BAM: only reads that overlap this region.", show_default=False)
    ] = "",
    min_mapq: Annotated[int, typer.Option("--min-mapq", min=0, help="BAM: least mapping quality.")] = 0,
    exclude_flags: Annotated[
        str, typer.Option("--exclude-flags", help="BAM: leave out reads with one of these flags.")
    ] = "0x900",
    reference_bases: Annotated[
        bool, typer.Option("--reference-bases", help="BAM: the genome's bases under each alignment.")
    ] = False,
    on_error: Annotated[
        str, typer.Option("--on-error", help="fail, or skip: list a bad record in the output and go on.")
    ] = "fail",
    resume: Annotated[bool, typer.Option("--resume", help="Continue a partial run.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print counts, sizes, problems and a time estimate; embed nothing.")
    ] = False,
    batch_bases: Annotated[int, typer.Option("--batch-bases", min=1, help="Bases in a batch.")] = 16384,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    deterministic: Deterministic = False,
    json_file: Json = None,
    quiet: Quiet = False,
) -> None:
    """Embed regions, sequences or reads: one vector each, in the order of the input.

    The output is an HDF5 file that is also a valid .h5ad. A run that was interrupted leaves NAME.partial,
    which --resume continues.
    """
    from findna.config import EmbedConfig
    from findna.io.options import InputOptions
    from findna.job import EmbedJob, plan, run
    from findna.models.store import DEFAULT
    from findna_cli.console import progress, say, write_report

    extras = pool.split(",")
    config = EmbedConfig(
        pool="mean" if extras[0] == "tokens" else extras[0],
        with_cls="cls" in extras[1:],
        with_tokens="tokens" in extras,
        layer=layer,
        window=window,
        stride=stride,
        strand=strand,
        batch_bases=batch_bases,
        dtype=dtype,  # type: ignore[arg-type]
    )
    if unknown := set(extras[1:]) - {"cls", "tokens"}:
        raise ConfigError(f"--pool {pool}: {', '.join(sorted(unknown))} cannot stand beside {extras[0]}")
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
    kind = output_format or ("tsv" if out == "-" else ending_format(out))
    told = _ENDINGS.get(Path(out.removesuffix(".gz")).suffix, kind)
    if told != kind:
        raise ConfigError(f"--format {kind} contradicts the name {out}")
    job = EmbedJob(
        inputs,
        Path(out or default_output(inputs, kind)),
        options=options,
        config=config,
        model=model or DEFAULT,
        device=device,
        precision=precision,
        output_format=kind,  # type: ignore[arg-type]
        on_error=on_error,
        resume=resume,
        force=force,
        command=shlex.join(["findna", *sys.argv[1:]]),
    )
    set_threads(threads, deterministic=deterministic)
    if dry_run:
        report = plan(job)
        for name, value in report.items():
            typer.echo(f"{name:18} {value:,}" if isinstance(value, int | float) else f"{name:18} {value}")
        write_report(json_file, report)
        if report["n_problems"] and on_error == "fail":
            raise typer.Exit(1)
        return
    try:
        with progress("embed", total=None, quiet=quiet) as advance:
            report = run(job, on_progress=lambda done, total: advance(done, f"of {total:,}" if total else ""))
    except (KeyboardInterrupt, SystemExit):
        is_kept = Path(f"{job.out}.partial").exists()
        say(f"{job.out}.partial is kept: the same command with --resume goes on" if is_kept else "nothing is kept")
        raise
    write_report(json_file, report)
    say(
        f"{', '.join(report['outputs']) or 'stdout'}: {report['n_rows']:,} rows, {report['n_skipped']:,} skipped, "
        f"{report['n_bases']:,} bases in {report['seconds']:,.1f} s ({report['model']['name']}, "
        f"{report['params']['precision']} on {report['params']['device']})",
        quiet=quiet,
    )


def default_output(inputs: list[str], kind: str) -> str:
    """An output's name in the working directory, made of the first input's.

    Raises:
        ConfigError: The input is stdin, or there are several.

    >>> default_output(["data/peaks.bed.gz"], "h5"), default_output(["chr20:1,001-2,000"], "tsv")
    ('peaks.h5', 'chr20_1001-2000.tsv')
    """
    if inputs[0] == "-":
        raise ConfigError("stdin has no name to call the output by: -o FILE")
    if len(inputs) > 1:
        raise ConfigError("several inputs need a name for their output: -o FILE")
    name = re.sub(r"\.(gz|bgz)$", "", Path(inputs[0]).name)
    stem = re.sub(r"\.[A-Za-z][A-Za-z0-9]*$", "", name) or name
    return re.sub(r"[^\w.+-]", "", stem.replace(":", "_").replace(",", "")) + f".{kind}"


def ending_format(out: str) -> str:
    """The format that an output's name asks for; HDF5 for a name without an ending.

    Raises:
        ConfigError: The ending is none of ours.

    >>> ending_format("a.tsv.gz"), ending_format("a")
    ('tsv', 'h5')
    """
    suffix = Path(out.removesuffix(".gz")).suffix
    if not suffix and not out.endswith(".gz"):
        return "h5"
    kind = _ENDINGS.get(suffix)
    if kind is None or (out.endswith(".gz") and kind != "tsv"):
        raise ConfigError(f"-o {out}: the name tells no format; --format h5, tsv, parquet or npy says it")
    return kind


def parse_flags(text: str) -> int:
    """A SAM flag as a number, decimal or hexadecimal.

    Raises:
        ConfigError: It is none.

    >>> parse_flags("0x900")
    2304
    """
    try:
        flags = int(text, 0)
    except ValueError as error:
        raise ConfigError(f"--exclude-flags {text}: no number such as 2304 or 0x900") from error
    if not 0 <= flags < 1 << 16:
        raise ConfigError(f"--exclude-flags {text}: SAM flags lie in 0 to 0xffff")
    return flags
