"""`findna embed`: regions, sequences or reads to vectors."""

from typing import Annotated, Any

import typer

from findna.config import ComputeConfig, EmbedConfig, RunConfig
from findna.io.options import InputOptions
from findna_cli.job import named_output, run_files
from findna_cli.options import DryRun, Inputs, Json, ModelName, Quiet, flags_of


@flags_of(InputOptions, EmbedConfig, RunConfig, ComputeConfig)
def embed(
    inputs: Inputs,
    out: Annotated[
        str, typer.Option("--out", "-o", help="Output file; '-' is stdout (TSV). Default: the input's name.")
    ] = "",
    output_format: Annotated[
        str, typer.Option("--format", help="h5, tsv, parquet or npy. Default: inferred from the output's name.")
    ] = "",
    model: ModelName = None,
    dry_run: DryRun = False,
    json_file: Json = None,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Write one vector per region, sequence or read.

    Rows are in input order. Vectors are the model's own read-out, standardised, unless --raw, --pool, --blocks or
    --layer selects other values. The output is an HDF5 file that is also a valid .h5ad. An interrupted run leaves
    NAME.partial, and --resume continues it. With --shard, the default name includes the part: NAME.part3of16.h5. With
    --shard auto, the part is also added to a name that --out gives.
    """
    from findna import embed_file

    path = named_output(inputs, out, output_format or "h5", shard=settings.get("shard", ""))
    chosen = {"model": model} if model else {}
    run_files(
        embed_file,
        inputs,
        path,
        output_format=output_format or None,
        dry_run=dry_run,
        json_file=json_file,
        quiet=quiet,
        **chosen,
        **settings,
    )
