"""The records of a run, the facts of its output, and whether this is finished; nothing here loads torch."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from findna import __version__
from findna.cells import stop_at_fault
from findna.errors import OutputError
from findna.io.check import InputSummary, check_inputs
from findna.io.genome import Genome
from findna.io.outputs import refuse_existing
from findna.io.records import read_records
from findna.io.source import Begin
from findna.io.spool import refuse_partial
from findna.runs.finished import finished_vectors, require_same_run, settled
from findna.runs.job import STDOUT, Job, RunJob
from findna.runs.provenance import genome_facts, input_facts
from findna.runs.shard import Part, ShardCuts, unevenness


class Scope(NamedTuple):
    """The records of a run.

    Args:
        n_records: Records of all inputs if they are known.
        inputs: The identity of the inputs.
        part: The records of the shard; None: all.
        begin: The place at which reading can begin; None: the beginning.
        uneven: A message if the shards are uneven.
    """

    n_records: int | None
    inputs: list[dict[str, Any]]
    part: Part | None
    begin: Begin | None
    uneven: str = ""


def check(
    job: RunJob,
    genome: Genome | None,
    *,
    n_windows: Callable[[int], int] | None = None,
    is_full: bool = False,
    on_record: Callable[[int], object] | None = None,
) -> InputSummary:
    """A first pass over the inputs that can be read twice.

    Args:
        job: The job.
        genome: Its genome, open.
        n_windows: Number of windows of a record with this many bases.
        is_full: Also count sequences and reads, and list problems instead of raising them.
        on_record: As in `check_inputs`.

    Raises:
        InputError: A region does not fit the genome and faults are fatal: all such, the first ten shown.
    """
    summary = check_inputs(
        job.inputs, job.options, genome=genome, n_windows=n_windows, is_full=is_full, on_record=on_record
    )
    if job.is_fatal and not is_full and (problem := summary.error()) is not None:
        raise problem
    return summary


def scope_of(job: Job, genome: Genome | None, *, batch_bases: int) -> Scope:
    """The records of a job. A shard ends where a batch ends; without one, `batch_bases` does not matter.

    Raises:
        InputError: As for `check`.
    """
    if (manifest := job.manifest) and job.shard:
        manifest.check(job.options, genome, batch_bases=batch_bases, is_fatal=job.is_fatal)
        return Scope(manifest.n_records, manifest.facts(job.inputs), *manifest.of(job.shard), manifest.uneven)
    cuts = ShardCuts(batch_bases)
    summary = check(job, genome, on_record=cuts.add if job.shard else None)
    n_records = None if summary.unchecked else summary.n_records
    part, uneven = (cuts.part(job.shard), unevenness(cuts.parts(job.shard.n), batch_bases)) if job.shard else (None, "")
    return Scope(n_records, input_facts(job.inputs, job.options), part, None, uneven)


def facts_of_run(
    job: Job, model: Mapping[str, Any], params: Mapping[str, Any], scope: Scope, genome: Genome | None
) -> dict[str, Any]:
    """The facts of a run in its output, without provenance.

    Args:
        job: The job.
        model: Facts of the model.
        params: Settings of the rows, and device and precision.
        scope: The records.
        genome: The genome, open.
    """
    options = {name: value for name, value in job.options.facts().items() if name != "strand"}
    return {
        "model": model,
        "inputs": scope.inputs,
        "genome": genome_facts(genome),
        "params": {**params, **options},
        **({"shard": scope.part.to_dict()} if scope.part else {}),
    }


def finished_run(job: Job, genome: Genome | None) -> dict[str, Any]:
    """The report of a run that is already finished; {} if the run is needed.

    Raises:
        OutputError: The output is of another run.
        InputError: The output lacks a record that this run may not skip.
    """
    if not job.may_be_finished or (found := finished_vectors(job.out, job.output_format)) is None:
        return {}
    asked = job.asked()
    device = str(found["params"].get("device")) if asked["device"] == "auto" else asked["device"]
    batch_bases = job.batch_bases_on(device)
    rows = job.described(batch_bases)
    scope = scope_of(job, genome, batch_bases=batch_bases)
    facts = facts_of_run(job, rows.facts, {**rows.params, **asked}, scope, genome)
    require_same_run(job.out, found, facts)
    n_rows, n_skipped = found["n_rows"], found["n_skipped"]
    if n_skipped and job.is_fatal:  # it may refuse what an earlier run skipped
        deque(stop_at_fault(read_records(job.inputs, job.options, genome=genome), fatal=True), maxlen=0)
    return {
        "findna": __version__,
        "outputs": [str(job.out)],
        "n_records": n_rows + n_skipped,
        "n_rows": n_rows,
        "n_skipped": n_skipped,
        "n_resumed": n_rows + n_skipped,
        "nothing_to_do": True,
        **settled(facts, found),
    }


def refuse_earlier(job: Job) -> None:
    """Raise, before torch is loaded, if an earlier output or partial run is in the way.

    Raises:
        OutputError: One is.
        ModelError: Besides, the model is not found or damaged.
    """
    if job.out == STDOUT:
        return
    is_allowed = job.run.force or job.run.resume
    try:
        refuse_existing(job.out, job.output_format, is_allowed=is_allowed)
        if not is_allowed:
            refuse_partial(job.out.with_name(f"{job.out.name}.partial"))
    except OutputError:
        job.described(0)  # a missing model is the first error
        raise
