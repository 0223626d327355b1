"""The work of `findna split` and `findna merge`: the plan of a sharded run, and one output from its parts."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from findna.config import ComputeConfig, RunConfig
from findna.errors import ConfigError
from findna.io.check import is_read_once, open_inputs
from findna.io.files import already_exists, refuse_changed, stamps
from findna.io.formats import infer_format
from findna.io.options import InputOptions
from findna.io.score_files import format_of as format_of
from findna.io.vcf import VariantReader
from findna.io.watch import refuse_inputs, unchanged
from findna.limits import MAX_SHARDS, batch_bases_on
from findna.runs.finished import read_output, require_same_run
from findna.runs.manifest import read_manifest
from findna.runs.manifest import split as split_records
from findna.runs.merge import merge as merge_vectors
from findna.runs.merge_parquet import holds_vectors, merge_parquet
from findna.runs.merge_scores import merge_scores
from findna.runs.shard import Shard as Shard
from findna.runs.variant_plan import split_variants
from findna.settings import make, with_settings

Report = dict[str, Any]


@with_settings(InputOptions, RunConfig, ComputeConfig, without=("device", "precision", "threads", "deterministic"))
def split(
    inputs: Sequence[str],
    out: str | Path,
    *,
    n_shards: int,
    variants: bool = False,
    force: bool = False,
    **settings: Any,
) -> Report:
    """Check the inputs of a sharded run and write its plan; returns the counts.

    Args:
        inputs: As for `findna.embed_file`.
        out: The plan.
        n_shards: Number of shards.
        variants: Whether the input is one file of variants.
        force: Replace an existing plan.
        settings: Of the inputs; `on_error` and `batch_bases` as in the run.

    Raises:
        InputError: An input is damaged, or a record cannot be used.
        OutputError: The plan exists or cannot be written.
        ConfigError: Settings contradict each other.
    """
    out = Path(out)
    refuse_inputs([out], [*inputs, settings.get("genome")])
    before = stamps(out)
    if not 1 <= n_shards <= MAX_SHARDS:
        raise ConfigError(f"n_shards must lie in 1 to {MAX_SHARDS:,}, not {n_shards:,}")
    if variants and len(inputs) != 1:
        raise ConfigError(f"variants come from one file, not from {len(inputs)}")
    options = make(InputOptions, settings)
    with unchanged([*inputs, *([options.genome] if options.genome else [])]), ExitStack() as stack:
        genome = None if variants else open_inputs(inputs, options, stack)
        if variants and not is_read_once(inputs[0]):
            stack.enter_context(VariantReader(inputs[0]))
        found = None if force else read_output(out, read_manifest)
        if out.exists() and not force and found is None:
            raise already_exists(out)
        manifest = (
            split_variants(inputs[0], n_shards=n_shards)
            if variants
            else split_records(
                inputs,
                options,
                n_shards=n_shards,
                batch_bases=make(ComputeConfig, settings).batch_bases or batch_bases_on("cpu"),
                genome=genome,
                is_fatal=make(RunConfig, settings).on_error == "fail",
            )
        )
    if found is None:
        refuse_changed([out], before)
        manifest.write(out)
    else:
        require_same_run(out, found.identity, manifest.identity)
    counts: Report = {
        "n_records": manifest.n_records,
        "n_bases": manifest.n_bases,
        "n_problems": manifest.n_problems,
        "uneven_shards": manifest.uneven,
    }
    return {"outputs": [str(out)], "n_shards": n_shards, **counts, **({"nothing_to_do": True} if found else {})}


def merge(
    parts: Sequence[str | Path],
    out: str | Path,
    *,
    output_format: str = "",
    virtual: bool = False,
    force: bool = False,
    command: str = "",
) -> Report:
    """Join the parts of a sharded run: vectors, a data set in Parquet, or scores (which have no `n_rows`).

    Args:
        parts: Parts of all shards, in any order.
        out: The output.
        output_format: For vectors: h5, tsv, parquet or npy; "" infers it from the name.
        virtual: Point to the rows of the parts instead of copying them.
        force: Replace an existing output.
        command: The command line, for the provenance.

    Raises:
        TableError: A part is damaged, missing, duplicate, or does not belong to the others.
        OutputError: The output exists or cannot be written.
        ConfigError: The parts cannot become that output.
    """
    paths, out = [Path(part) for part in parts], Path(out)
    if holds_vectors(paths[0]):
        if infer_format(out, output_format) != "parquet":
            raise ConfigError(f"{out}: Parquet parts become a folder, named as NAME.parquet")
        return merge_parquet(paths, out, force=force, command=command)
    if format_of(paths[0].name):
        if virtual:
            raise ConfigError("virtual=True is for vectors in HDF5, not for scores")
        return merge_scores(paths, out, force=force, command=command)
    kind = infer_format(out, output_format)
    return merge_vectors(paths, out, output_format=kind, virtual=virtual, force=force, command=command)
