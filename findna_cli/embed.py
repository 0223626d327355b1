"""`findna embed`: regions, sequences or reads to vectors."""

from pathlib import Path
from typing import Annotated

import typer

from findna.errors import ConfigError
from findna_cli.job import command_line, default_output, run_job
from findna_cli.options import (
    BatchBases,
    Center,
    Deterministic,
    Device,
    DryRun,
    ExcludeFlags,
    Force,
    Genome,
    Gpus,
    InFormat,
    Inputs,
    Json,
    MaxN,
    MinMapq,
    ModelName,
    OnError,
    PlanFile,
    Precision,
    Quiet,
    ReadsRegion,
    ReferenceBases,
    Resume,
    ShardOf,
    Size,
    Split,
    Strand,
    Threads,
    Workers,
    not_empty,
    parse_flags,
    set_threads,
)


def embed(
    inputs: Inputs,
    out: Annotated[
        str,
        typer.Option(
            "--out", "-o", help="Output file; '-' is stdout (TSV). Default: the input's name.", show_default=False
        ),
    ] = "",
    genome: Genome = None,
    model: ModelName = None,
    in_format: InFormat = "",
    output_format: Annotated[
        str,
        typer.Option(
            "--format", help="h5, tsv, parquet or npy. Default: inferred from the output's name.", show_default=False
        ),
    ] = "",
    pool: Annotated[
        str | None,
        typer.Option(
            "--pool",
            help="mean, sd, max, min, or several of them, as mean,sd; cls or tokens, also together with others. "
            "Default: the model's own read-out, see findna model info.",
            show_default=False,
        ),
    ] = None,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Do not standardise. Values are standardised only in the model's own read-out."),
    ] = False,
    layer: Annotated[int, typer.Option("--layer", help="Layer to read; 0: stem, -1: last layer.")] = -1,
    blocks: Annotated[
        str | None,
        typer.Option(
            "--blocks",
            help="Blocks to read instead of a layer, as 5,10,15,20.",
            show_default=False,
            callback=not_empty,
        ),
    ] = None,
    window: Annotated[int, typer.Option("--window", help="Bases per window; 0: the model's window.")] = 0,
    stride: Annotated[int, typer.Option("--stride", help="Bases between window starts; 0: the window length.")] = 0,
    strand: Strand = "bed",
    dtype: Annotated[str, typer.Option("--dtype", help="float32, or float16 (half the size).")] = "float32",
    split: Split = False,
    size: Size = 0,
    center: Center = "middle",
    max_n: MaxN = 1.0,
    region: ReadsRegion = "",
    min_mapq: MinMapq = 0,
    exclude_flags: ExcludeFlags = "0x900",
    reference_bases: ReferenceBases = False,
    on_error: OnError = "fail",
    resume: Resume = False,
    force: Force = False,
    dry_run: DryRun = False,
    batch_bases: BatchBases = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    threads: Threads = 0,
    workers: Workers = 1,
    gpus: Gpus = 0,
    shard: ShardOf = "",
    plan: PlanFile = None,
    deterministic: Deterministic = False,
    json_file: Json = None,
    quiet: Quiet = False,
) -> None:
    """Write one vector per region, sequence or read.

    Rows are in input order. Vectors are the model's own read-out, standardised, unless --raw, --pool, --blocks or
    --layer selects other values. The output is an HDF5 file that is also a valid .h5ad. An interrupted run leaves
    NAME.partial, and --resume continues it. With --shard, the default name includes the part: NAME.part3of16.h5. With
    --shard auto, so does the name in --out.
    """
    import os

    from findna.config import EmbedConfig, parse_pools
    from findna.io.formats import FORMATS, infer_format
    from findna.io.options import InputOptions
    from findna.job import EmbedJob
    from findna.manifest import read_manifest
    from findna.models.store import DEFAULT
    from findna.shard import Shard

    pools = () if pool is None else parse_pools(pool, also=("tokens",))
    in_vector = [name for name in pools if name not in ("cls", "tokens")]
    if plan and not batch_bases:
        batch_bases = read_manifest(plan).batch_bases
    config = EmbedConfig(
        pool=",".join(in_vector) or ("cls" if "cls" in pools else "mean" if pools else ""),
        raw=raw,
        with_cls="cls" in pools and bool(in_vector),
        with_tokens="tokens" in pools,
        layer=layer,
        blocks=blocks or "",
        window=window,
        stride=stride,
        strand=strand,
        batch_bases=batch_bases,
        dtype=dtype,  # type: ignore[arg-type]
    )
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
    kind = output_format or infer_format(out)
    if FORMATS.get(Path(out.removesuffix(".gz")).suffix, kind) != kind:
        raise ConfigError(f"--format {kind} contradicts the name {out}")
    part = Shard.parse(shard, os.environ) if shard else None
    path = Path(out or default_output(inputs, kind))
    if part and (not out or shard == "auto") and out != "-":
        path = path.with_name(f"{path.stem}.{part.name}{path.suffix}")
    job = EmbedJob(
        inputs,
        path,
        options=options,
        config=config,
        model=model or DEFAULT,
        device=device,
        precision=precision,
        output_format=kind,  # type: ignore[arg-type]
        on_error=on_error,
        resume=resume,
        force=force,
        command=command_line(),
        shard=part,
        plan=plan,
        workers=workers,
        gpus=gpus,
    )
    set_threads(threads, deterministic=deterministic)
    run_job(job, "embed", dry_run=dry_run, json_file=json_file, quiet=quiet)
