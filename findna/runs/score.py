"""One run of `findna score`: records in, the same records with scores out, and a report."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from findna import phases
from findna.cells import CHUNK
from findna.config import EmbedConfig
from findna.counts import counted
from findna.errors import ConfigError, OutputError, VariantError
from findna.io.arrays import require_absent
from findna.io.compressed import START, Mark
from findna.io.files import refuse_irregular
from findna.io.outputs import refuse_existing
from findna.io.rows import Rows
from findna.io.score_files import FILES
from findna.io.score_sink import STDOUT, ScoreFile
from findna.io.score_spool import COLUMNS, ScoreSpool
from findna.io.scores import MISFITS, ROWS, Outcome, ScoreRows
from findna.io.spool import refuse_partial
from findna.io.vcf import Site, VariantReader, with_assembly
from findna.models.described import ModelFacts, TaskFacts, describe_model, describe_task
from findna.runs.finished import n_finished
from findna.runs.frame import Frame, fingerprint
from findna.runs.job import OnProgress
from findna.runs.score_job import ScoreJob, header_lines, params_of_scores
from findna.runs.scored import ScorePart, finished
from findna.runs.shard import unevenness
from findna.runs.variant_plan import cut_variants

if TYPE_CHECKING:
    from findna.variants import Scored, VariantScorer


def run_scores(job: ScoreJob, *, on_progress: OnProgress = lambda done, total: None) -> dict[str, Any]:
    """Score all records of a job; returns the report: counts, time, memory, versions, outputs.

    Memory is limited to a few hundred records. Scores are kept beside the output until this is complete; a resumed
    run computes only the missing ones.

    Args:
        job: What to do.
        on_progress: Called with the number of records written and the total, which may be an estimate.

    Raises:
        VariantError: The input is damaged, or a record does not fit the genome and is not to be skipped; all were.
        InputError: The input or the genome changed while it was read.
        OutputError: The output exists or cannot be written.
        ModelError: The model is damaged.
    """
    with Frame(job) as frame, ExitStack() as stack:
        model: ModelFacts | TaskFacts = describe_task(job.task) if job.task else describe_model(job.model)
        part, begin, uneven = _part(job)
        reader = stack.enter_context(VariantReader(job.source, begin=begin))
        asked = frame.asked(model, params_of_scores(job, model)) | ({"shard": part.to_dict()} if part else {})
        vectors = _vector_facts(asked, part)
        if counts := _finished(job, frame, asked, part, vectors):
            return frame.report(asked, [job.out], **counts)
        scorer, facts = _scorer(job, model, frame, reader), frame.facts(asked)
        vectors = _vector_facts(facts, part)
        rows = ROWS[job.output_format](reader, scorer.fields, header_lines(job, facts, part), scorer.genome.contigs)
        with (
            _spool(job, model, facts, reader.name, frame.partial) as spool,
            _file(job, rows, spool) as file,
            frame.keeping(spool) if spool else nullcontext(),
        ):
            reasons = _write(file, rows, _outcomes(job, scorer, reader, part, spool), part, on_progress)
            frame.check()
            if not part and reasons and reasons.keys() <= MISFITS:
                _refuse_all(reader, reasons, file.n_records, spool)
            if part and (file.n_records, reasons.total()) != (part.n_records, part.n_rows):
                raise OutputError(f"{counted(part.n_records, 'record')} came in, {file.n_records:,} came out")
            beside: list[Path] = []
            if spool and job.embeddings:
                beside = spool.write_vectors(job.embeddings, vectors, force=_may_replace_vectors(job, vectors))
            outputs = [*file.finish(), *beside]
    n_variants, n_scored = reasons.total(), reasons.pop("", 0)
    return frame.report(
        facts,
        outputs,
        n_records=file.n_records,
        n_resumed=spool.n_done if spool else 0,
        n_variants=n_variants,
        n_scored=n_scored,
        n_skipped=n_variants - n_scored,
        skipped=dict(reasons),
        uneven_shards=uneven,
        n_windows=scorer.reader.n_windows,
        scores=[score.name for score in scorer.fields],
    )


def _finished(
    job: ScoreJob, frame: Frame, asked: Mapping[str, Any], part: ScorePart | None, vectors: Mapping[str, Any]
) -> dict[str, Any]:
    """The report of a finished run, without torch; {} if the run is needed.

    Raises:
        OutputError: The output or its vectors exist and are of another run, or a partial run is in the way.
    """
    counts: dict[str, Any] = {}
    if job.may_be_finished:
        longest = max(frame.genome.contigs.values(), default=0) if frame.genome else 0
        counts = finished(job.out, job.output_format, header_lines(job, asked, part), longest=longest)
    if counts and (not job.embeddings or n_finished(job.embeddings, vectors) is not None):
        return counts
    if job.embeddings:
        refuse_existing(job.embeddings, "h5", is_allowed=_may_replace_vectors(job, vectors))
    if job.out != STDOUT and not (job.run.force or job.run.resume):
        refuse_irregular(job.out)
        require_absent(job.out, force=False)
        refuse_partial(frame.partial)
    return {}


def _file(job: ScoreJob, rows: ScoreRows, spool: ScoreSpool | None) -> ScoreFile:
    """The output, to be opened."""
    facts, longest = rows.facts, rows.longest
    is_ours = (
        spool and spool.is_resumed and finished(job.out, job.output_format, facts, longest=longest, is_resumed=True)
    )
    return FILES[job.output_format](
        job.out,
        rows.head,
        source=rows.reader.name,
        longest=rows.longest,
        force=job.run.force or bool(is_ours),
        temp=spool.temp(job.out) if spool else None,
    )


def _write(
    file: ScoreFile,
    rows: ScoreRows,
    found: Iterable[tuple[Site, Sequence[Outcome]]],
    part: ScorePart | None,
    on_progress: OnProgress,
) -> Counter[str]:
    """Write all records; returns the number of ALTs for each reason, "" for those with scores."""

    def tell() -> None:
        on_progress(file.n_records, part.n_records if part else rows.reader.n_expected)

    reasons: Counter[str] = Counter()
    tell()
    for site, outcomes in found:
        file.write(site, rows.of(site, outcomes))
        reasons.update(outcome.reason for outcome in outcomes)
        if file.n_records % CHUNK == 0:
            tell()
    return reasons


def _refuse_all(
    reader: VariantReader, reasons: Mapping[str, int], n_records: int, spool: ScoreSpool | None
) -> NoReturn:
    """Raise the error that no record fits the genome; delete the spool."""
    if spool:
        spool.remove()
    counts = ", ".join(f"{reason} {n:,}" for reason, n in reasons.items())
    fault = VariantError(f"no record is left: {counted(n_records, 'record')} skipped: {counts}.", path=reader.name)
    raise with_assembly(fault, reader)


def _may_replace_vectors(job: ScoreJob, vectors: Mapping[str, Any]) -> bool:
    """Whether the vectors may be replaced: with `force`, or if the resumed run was killed after it wrote them."""
    if job.run.force or not (job.embeddings and job.run.resume):
        return job.run.force
    return n_finished(job.embeddings, vectors, is_resumed=True) is not None


def _vector_facts(facts: Mapping[str, Any], part: ScorePart | None) -> dict[str, Any]:
    return {**facts, "params": {**facts["params"], "alleles": True}, **({"shard": part.of_vectors()} if part else {})}


def _scorer(job: ScoreJob, model: ModelFacts | TaskFacts, frame: Frame, reader: VariantReader) -> "VariantScorer":
    from findna.models.store import model_of_facts  # loads torch: not for a finished run
    from findna.models.task import task_of_facts
    from findna.variants import VariantScorer

    if frame.genome is None:
        raise ValueError("a job of scores has a genome")
    return VariantScorer(
        model_of_facts(model) if isinstance(model, ModelFacts) else task_of_facts(model),
        frame.genome,
        job.config,
        source=reader.name,
        with_vectors=bool(job.embeddings),
        compute=frame.compute,
    )


def _spool(
    job: ScoreJob, model: ModelFacts | TaskFacts, facts: Mapping[str, Any], source: str, folder: Path
) -> AbstractContextManager[ScoreSpool | None]:
    """The spool of outcomes until the output is complete; None for a stream."""
    if job.out == STDOUT:
        return nullcontext()
    rows = None
    if job.embeddings and isinstance(model, ModelFacts):
        from findna.embedding import feature_columns, feature_names

        config = model.readout.embed_config(EmbedConfig(), model.config)
        names, var = feature_names(config, model.config), feature_columns(config, model.config, model.readout)
        rows = Rows(folder, COLUMNS, names, np.dtype(np.float32), None, None, var=var)
    same = fingerprint(facts) | {"embeddings": job.embeddings is not None}
    return ScoreSpool(folder, rows, source, same, resume=job.run.resume, force=job.run.force)


def _outcomes(
    job: ScoreJob, scorer: "VariantScorer", reader: VariantReader, part: ScorePart | None, spool: ScoreSpool | None
) -> Iterator[tuple[Site, Sequence[Outcome]]]:
    """Each record of the part with its outcome, in order; those in the spool are not computed again."""
    sites = iter(reader)
    if part is not None:
        first = part.first - reader.begin.row
        sites = itertools.islice(sites, first, first + part.n_records)
    if spool:
        for site, outcomes in zip(itertools.islice(sites, spool.n_done), spool.outcomes(), strict=True):
            if job.is_fatal and any(outcome.reason in MISFITS for outcome in outcomes):  # an earlier run skipped it
                _refuse_misfit(job, scorer.score([site])[0], reader)
            yield site, outcomes
    n_done = spool.n_done if spool else 0
    while chunk := list(itertools.islice(sites, CHUNK)):
        n_all = part.n_records if part else reader.n_expected
        total = n_all if not n_all or n_all >= n_done + len(chunk) else phases.Estimate(n_done + len(chunk))
        with phases.within("scoring", n_done, total, size=len(chunk)) if total else nullcontext():
            scored = scorer.score(chunk)
        n_done += len(chunk)
        for one in scored:
            _refuse_misfit(job, one, reader)
        if spool:
            spool.add(chunk, [one.outcomes for one in scored])
        yield from zip(chunk, (one.outcomes for one in scored), strict=True)


def _refuse_misfit(job: ScoreJob, scored: "Scored", reader: VariantReader) -> None:
    """Raise the error of a record that does not fit the genome, unless such records are skipped."""
    if scored.fault is not None and job.is_fatal:
        raise with_assembly(scored.fault, reader)


def _part(job: ScoreJob) -> tuple[ScorePart | None, Mark, str]:
    """The records of the shard, their start, and a message if the shards are uneven."""
    if job.shard is None:
        return None, START, ""
    if job.manifest is None:
        shards = cut_variants(job.source, job.shard.n)
    elif job.manifest.batch_bases:
        raise ConfigError(f"{job.run.plan} is not a plan of variants: findna split with variants=True makes one")
    else:
        job.manifest.of(job.shard)
        shards = job.manifest.shards
    sizes = [each.n_bases for each, _ in shards]
    n_before, n_rows = sum(sizes[: job.shard.number - 1]), sum(sizes)
    part, begin = shards[job.shard.number - 1]
    found = ScorePart(job.shard, part.first, part.n_records, part.n_total, n_before, part.n_bases, n_rows)
    return found, begin.mark if begin else START, unevenness([each for each, _ in shards], 0)
