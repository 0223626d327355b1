"""`findna score`: the effects of variants."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from findna.config import ComputeConfig, RunConfig, ScoreConfig
from findna_cli.job import named_output, run_framed
from findna_cli.options import Json, ModelName, Quiet, flags_of


@flags_of(ScoreConfig, RunConfig, ComputeConfig, without=("workers", "gpus"))
def score(
    variants: Annotated[str, typer.Argument(help="VCF, VCF.gz, BCF or TSV (chrom, pos, ref, alt), or '-' for stdin.")],
    genome: Annotated[
        Path, typer.Option("--genome", "-g", help="Genome of the variants: FASTA (plain or bgzip) or .2bit.")
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            help="Output: .vcf, .vcf.gz or .bcf (with an index), .tsv, .tsv.gz or .parquet; '-' is stdout. "
            "Default: NAME.scored.vcf.gz, or NAME.scored.tsv for a TSV.",
        ),
    ] = "",
    output_format: Annotated[
        str, typer.Option("--format", help="vcf, bcf, tsv or parquet. Default: inferred from the output's name.")
    ] = "",
    model: ModelName = None,
    task: Annotated[
        str,
        typer.Option(
            help="Score by the change of a task's probabilities: name of a built-in task, or a run directory."
        ),
    ] = "",
    embeddings: Annotated[
        Path | None, typer.Option(help="Also write the vectors of REF and ALT to this HDF5 file.")
    ] = None,
    json_file: Json = None,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Score variants by the change from REF to ALT.

    Each ALT gets scores of a model or of a task. A VCF is written with INFO fields FINDNA_LLR, FINDNA_COSINE,
    FINDNA_EUCLIDEAN and FINDNA_INFLUENCE; records are otherwise unchanged and in order. An ALT that cannot be scored
    (symbolic, breakend, too long, ...) is listed with its reason in FINDNA_SKIPPED. REF is checked against the genome.
    """
    from findna.commands import files
    from findna.commands.shards import Shard, format_of

    kind, shard = output_format or format_of(out) or _default_format(variants), settings.get("shard", "")
    if Path(out).suffix and not output_format and not format_of(out):
        raise files.wrong_ending(out, ("vcf", "vcf.gz", "bcf", "tsv", "tsv.gz", "parquet"))
    ending = {"vcf": "scored.vcf.gz"}.get(kind, f"scored.{kind}")
    path = named_output([variants], out, ending, shard=shard)
    if embeddings and shard and (not out or shard == "auto") and out != "-":
        part = Shard.parse(shard, os.environ).name
        embeddings = embeddings.with_name(f"{embeddings.stem}.{part}{embeddings.suffix}")
    run = partial(
        files.score,
        variants,
        path,
        genome=genome,
        model=model or "",
        task=task,
        output_format=kind,
        embeddings=embeddings,
        **settings,
    )
    counts = ("record", "variant", "scored", "skipped")
    run_framed("scoring", run, path, json_file=json_file, quiet=quiet, counts=counts)


def _default_format(variants: str) -> str:
    """The default format of an output: that of the input."""
    return "tsv" if ".tsv" in Path(variants).suffixes else "vcf"
