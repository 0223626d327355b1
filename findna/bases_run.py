"""One run of `findna predict-bases`: records in, the predicted probabilities of their bases out."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from findna.io.arrays import require_absent
from findna.io.base_tracks import VALUES, BaseRow, places_of, write_hdf5
from findna.io.tracks import require_pybigtools, write_track
from findna.masked import MaskedBases
from findna.models.store import DEFAULT, load_model
from findna.record import Record
from findna.runs.frame import Frame
from findna.runs.job import OnProgress, RunJob
from findna.sequence import Codes

FORMATS = ("h5", "bedgraph", "bigwig")


@dataclass(frozen=True)
class BasesJob(RunJob):
    """All that decides the predictions, and where they go.

    Args:
        model: A shipped model's name or a model folder.
        passes: As for `findna.predict_bases`.
        output_format: Of `FORMATS`.
        value: What a track shows: entropy, or log_p of the reference base.
    """

    model: str = DEFAULT
    passes: int = 8
    output_format: str = "h5"
    value: str = "log_p"

    def _problems(self) -> list[str]:
        problems = []
        if self.output_format not in FORMATS:
            problems.append(f"the output is one of {', '.join(FORMATS)}, not {self.output_format!r}")
        if self.value not in VALUES:
            problems.append(f"a track shows one of {', '.join(VALUES)}, not {self.value!r}")
        if self.output_format == "bigwig":
            require_pybigtools()
            if self.options.genome is None:
                problems.append("a bigWig needs the genome, for the lengths of its contigs")
        return problems


def predict_bases_of(job: BasesJob, *, on_progress: OnProgress = lambda done, total: None) -> dict[str, Any]:
    """Write the predictions of all records of a job and give the account of it.

    Raises:
        InputError: An input is damaged, or a record cannot be used.
        OutputError: The output exists or cannot be written.
        ModelError: The model is damaged.
    """
    require_absent(job.out, force=job.run.force)
    model = load_model(job.model)
    with Frame(job) as frame:
        masked = MaskedBases(model.network, passes=job.passes, compute=frame.compute)
        facts = frame.facts(model, {"passes": job.passes, **job.options.facts()})
        waiting: deque[Record] = deque()
        n_bases = n_rows = 0

        def sequences() -> Iterator[Codes]:
            for record in frame.records():
                waiting.append(record)
                yield record.codes

        def rows() -> Iterator[BaseRow]:
            nonlocal n_bases, n_rows
            for probabilities in masked.predict(sequences()):
                yield BaseRow(waiting.popleft(), probabilities)
                n_bases += len(probabilities)
                n_rows += 1
                on_progress(n_rows + len(frame.skipped), frame.n_expected)

        if job.output_format == "h5":
            write_hdf5(job.out, rows(), facts, skipped=frame.skipped)
        else:
            places = (place for row in rows() for place in places_of(row, job.value))
            contigs = frame.genome.contigs if frame.genome else {}
            write_track(job.out, places, contigs, skipped=frame.skipped)
        return frame.report(facts, [job.out], n_bases=n_bases)
