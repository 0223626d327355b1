"""One run of `findna predict-bases`: records in, the predicted probabilities of their bases out."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from findna import phases
from findna.config import BasesConfig
from findna.io.base_tracks import BaseRow, places_of, write_hdf5
from findna.io.record_spool import Arrays
from findna.io.tracks import require_pybigtools, write_track
from findna.models.described import ModelFacts, describe_model
from findna.models.folders import DEFAULT
from findna.record import Record
from findna.runs.frame import Frame
from findna.runs.job import STDOUT, OnProgress, RunJob

if TYPE_CHECKING:
    from findna.masked import MaskedBases

FORMATS = ("h5", "bedgraph", "bigwig")

_N_BATCHES = 8
"""Number of batches that are predicted together; the last one may be small."""


@dataclass(frozen=True)
class BasesJob(RunJob):
    """The settings and output of the predictions.

    Args:
        config: How bases are predicted, and what a track shows.
        model: A shipped model's name or a model folder.
        output_format: One of `FORMATS`.
    """

    config: BasesConfig = field(default_factory=BasesConfig)
    model: str = DEFAULT
    output_format: str = "h5"

    def _problems(self) -> list[str]:
        problems = ["the output cannot be streamed to stdout: give a file"] if self.out == STDOUT else []
        if self.output_format not in FORMATS:
            problems.append(f"the output is one of {', '.join(FORMATS)}, not {self.output_format!r}")
        if self.output_format == "bigwig":
            require_pybigtools()
            if self.options.genome is None:
                problems.append("a bigWig needs the genome, for the lengths of its contigs")
        return problems


def _masked_bases(job: BasesJob, model: ModelFacts, frame: Frame) -> "MaskedBases":
    from findna.masked import MaskedBases  # loads torch: not for a finished run
    from findna.models.store import model_of_facts

    return MaskedBases(model_of_facts(model).network, passes=job.config.passes, compute=frame.compute)


def predict_bases_of(job: BasesJob, *, on_progress: OnProgress = lambda done, total: None) -> dict[str, Any]:
    """Write the predictions of all records of a job; returns the report.

    Results are kept beside the output until this is complete; a resumed run computes only the missing ones.

    Raises:
        InputError: An input is damaged, or a record cannot be used.
        OutputError: The output exists or cannot be written.
        ModelError: The model is damaged.
    """
    with Frame(job) as frame:
        is_hdf5 = job.output_format == "h5"
        shown = {} if is_hdf5 else {"value": job.config.value}
        model = describe_model(job.model)
        asked = frame.asked(model, {"passes": job.config.passes, **shown, **job.options.facts()})
        records = frame.records()
        if (n_finished := frame.n_finished(asked)) is not None:
            return frame.report(asked, [job.out], n_resumed=n_finished, nothing_to_do=True)
        masked = _masked_bases(job, model, frame)
        facts = frame.facts(asked)
        n_bases = n_rows = 0

        def arrays_of(records: Sequence[Record]) -> list[Arrays]:
            n_done, total = n_rows + len(frame.skipped), frame.n_expected
            with phases.within("predicting", n_done, total, size=len(records)) if total else nullcontext():
                return [[one] for one in masked.predict([record.codes for record in records])]

        def rows() -> Iterator[BaseRow]:
            nonlocal n_bases, n_rows
            n_together = max(1, _N_BATCHES * frame.compute.batch_bases // (job.config.passes or 1))
            on_progress(0, frame.n_expected)
            for record, (probabilities,) in spool.through(records, arrays_of, n_bases=n_together):
                yield BaseRow(record, probabilities)
                n_bases += len(probabilities)
                n_rows += 1
                on_progress(n_rows + len(frame.skipped), frame.n_expected)

        with frame.arrays(facts) as spool:
            temp = spool.temp(job.out)
            if is_hdf5:
                write_hdf5(job.out, rows(), facts, skipped=frame.skipped, temp=temp)
            else:
                places = (place for row in rows() for place in places_of(row, job.config.value))
                contigs = frame.genome.contigs if frame.genome else {}
                write_track(job.out, places, contigs, facts, skipped=frame.skipped, temp=temp)
        return frame.report(facts, [job.out], n_resumed=spool.n_done, n_bases=n_bases)
