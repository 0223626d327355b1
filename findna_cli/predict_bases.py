"""`findna predict-bases`: the probabilities of A, C, G and T at each base."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from findna.config import BasesConfig, ComputeConfig, RunConfig
from findna.io.options import InputOptions
from findna_cli.job import named_output, run_framed
from findna_cli.options import WITHOUT, Inputs, Json, ModelName, Quiet, flags_of


@flags_of(BasesConfig, InputOptions, RunConfig, ComputeConfig, without=WITHOUT)
def predict_bases(
    inputs: Inputs,
    out: Annotated[
        str, typer.Option("--out", "-o", help="Output: .h5, .bedgraph[.gz] or .bw. Default: NAME.bases.h5.")
    ] = "",
    model: ModelName = None,
    json_file: Json = None,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Predict each base from its neighbours: the probabilities of A, C, G and T, and their entropy.

    A base is masked when it is predicted. HDF5 has all values, also the log-probability of the observed base. A
    bedGraph or bigWig has one value per base.
    """
    from findna.commands import files

    kind = files.track_format(out) or ("h5" if not out or Path(out).suffix in (".h5", ".hdf5") else "")
    path = named_output(inputs, out, "bases.h5")
    if not kind:
        raise files.wrong_ending(out, ("h5", "bedgraph", "bedgraph.gz", "bw"))
    run = partial(files.predict_bases, inputs, path, model=model or "", output_format=kind, **settings)
    counts = ("record", "base", "skipped")
    run_framed("predicting", run, path, json_file=json_file, quiet=quiet, counts=counts)
