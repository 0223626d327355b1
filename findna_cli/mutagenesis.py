"""`findna mutagenesis`: every base to every other."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from findna.config import ComputeConfig, MutagenesisConfig, RunConfig
from findna.errors import ConfigError
from findna.io.options import InputOptions
from findna_cli.job import named_output, run_framed
from findna_cli.options import WITHOUT, Inputs, Json, ModelName, Quiet, flags_of

_ENDINGS = {".h5": "h5", ".hdf5": "h5", ".tsv": "tsv"}


@flags_of(MutagenesisConfig, InputOptions, RunConfig, ComputeConfig, without=WITHOUT)
def mutagenesis(
    inputs: Inputs,
    out: Annotated[str, typer.Option("--out", "-o", help="Output, .h5 or .tsv. Default: NAME.mutagenesis.h5.")] = "",
    model: ModelName = None,
    output_format: Annotated[
        str, typer.Option("--format", help="h5 or tsv. Default: inferred from the output's name.")
    ] = "",
    json_file: Json = None,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Change each base to every other base and measure the effect, on both strands.

    Without --task the effect is the log-probability of each base minus that of the reference base, which is masked.
    With --task it is the change of the log-odds of a class, or of the value of a regression.
    """
    from findna.commands import files

    kind = output_format or _ENDINGS.get(Path(out).suffix, "" if out else "h5")
    path = named_output(inputs, out, f"mutagenesis.{kind}")
    if kind not in ("h5", "tsv") or _ENDINGS.get(Path(out).suffix, kind) != kind:
        if out and not output_format:
            raise files.wrong_ending(out, ("h5", "tsv"))
        raise ConfigError(f"--format {output_format}: the output {out} is .h5 or .tsv")
    run = partial(files.mutagenesis, inputs, path, model=model or "", output_format=kind, **settings)
    counts = ("record", "base", "window", "skipped")
    run_framed("mutating", run, path, json_file=json_file, quiet=quiet, counts=counts)
