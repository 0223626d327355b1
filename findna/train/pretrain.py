"""Pretraining: masked nucleotide modelling and contrastive self-distillation, on one device or on several.

Sections 3.2 to 3.4 and 4.1 of Yu et al. 2024 (arXiv:2405.08538); docs/reproducing.md lists where a preset departs.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from findna.data.datasets import Corpus, iter_steps
from findna.errors import ConfigError, InputError, TrainingError
from findna.io.files import write_atomic
from findna.io.structured import read_json
from findna.models.store import Model, save_model
from findna.nn.device import Compute
from findna.recipes import PretrainConfig
from findna.train.baseline import fit_baseline
from findna.train.card import model_card
from findna.train.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from findna.train.loop import Report, Training, enough_memory, open_folder
from findna.train.parallel import Team
from findna.train.place import is_restart
from findna.train.portable import rewarmed
from findna.train.resume import facts_of_pretraining, fingerprint, require_same
from findna.train.schedule import cosine, learning_rate
from findna.train.trainer import Trainer
from findna.train.views import VALID_EPOCH, Portion, portion_of, views_of

STUDENT = "student"
"""Folder in a run directory, and itself a model folder, with the student of a distillation."""
MIN_HELD_OUT = 16
"""With fewer held-out windows, the effective rank cannot show a collapse: it is below their number."""
MIN_RANK = 1.5
"""A run has collapsed if the effective rank of the class tokens is lower in two reports in a row."""


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """The result of a run.

    Args:
        finished: Whether all steps were made; False after a stop that can be resumed.
        step: Updates made.
        n_bases: Bases that the student saw.
        seconds: Time spent, over all resumes.
        last: The last report with held-out figures.
        kernels: What ran the blocks: triton, compile or plain.
    """

    finished: bool
    step: int
    n_bases: int
    seconds: float
    last: Mapping[str, float]
    kernels: str


def pretrain(
    config: PretrainConfig,
    corpus: Corpus,
    held_out: Corpus,
    out: Path,
    *,
    name: str,
    compute: Compute,
    sources: Mapping[str, Any],
    asked: Mapping[str, Any] = MappingProxyType({}),
    time_budget: float | None = None,
    initial: Model | None = None,
    resume: bool = False,
    team: Team | None = None,
    n_reports: int = 20,
    checkpoint_seconds: float = 300.0,
    should_stop: Callable[[], bool] = lambda: False,
    on_report: Callable[[Report], None] = lambda report: None,
) -> Pretrained:
    """Pretrain a teacher and leave a model folder in `out`, with `log.csv` and `checkpoints/` beside it.

    Args:
        config: The recipe.
        corpus: Training windows.
        held_out: Held-out windows.
        out: The run directory; it is a model folder once the run has ended.
        name: Name of the model.
        compute: Where and how it runs: on one CPU or GPU; with a team, those of this process.
        sources: The sources of the windows, for `config.json`. A resume must have the same, except for names of files.
        asked: Further content of `pretrain.json` for a resume; see `findna.train.plan`.
        time_budget: Seconds to fit the run into, instead of a number of steps.
        initial: Model of the same size with the initial weights; None: random weights.
        resume: Resume from the newest checkpoint in `out`; on the CPU, the result equals that of an uninterrupted run.
        team: The processes of the run, which all call this function; None: only this one. Their number changes neither
            batches nor losses, and may differ in a resume.
        n_reports: Number of times to measure the held-out windows.
        checkpoint_seconds: Time between checkpoints.
        should_stop: Called after every step; True, in one process, writes a checkpoint and stops the run.
        on_report: Called after every step.

    Raises:
        TrainingError: It diverged, collapsed, ran out of memory, lost a process, or has nothing to resume.
        InputError: There are no windows.
        ConfigError: A batch has fewer sequences than there are processes.
        OutputError: `out` holds a run already, or cannot be made.
    """
    team = team or Team()
    if not len(corpus):
        raise InputError("there is no window to train on")
    batch_size = min(config.batch_size, len(corpus))
    if batch_size < team.size:
        raise ConfigError(f"a batch of {batch_size} sequences cannot be split among {team.size} processes")
    resume = team.broadcast(_enter(out, resume, team) if team.is_main else resume)
    network = initial.network if initial else None
    trainer = Trainer(config, compute=compute, team=team, initial=network)
    made_of = facts_of_pretraining(config, sources, initial=initial, compute=compute)
    made_print = fingerprint(made_of)
    _require_equal(team.gather([made_print]))
    total = config.steps or config.epochs * (len(corpus) // batch_size)
    state: dict[str, Any] = {"fingerprint": made_print, "total_steps": total, "time_budget": time_budget}
    if resume:
        tensors, state = team.broadcast(load_checkpoint(out / "checkpoints") if team.is_main else ({}, {}))
        require_same(out, fingerprint(state["fingerprint"]), made_print)
        trainer.load(tensors)
    if team.is_main:
        stored = {**made_of, "plan": dict(asked), "job": team.place.job}
        write_atomic(out / "pretrain.json", json.dumps(stored, indent=2) + "\n")
    run = _PretrainRun(
        trainer,
        corpus,
        held_out,
        out,
        name=name,
        made_of=made_of,
        state={**state, "fingerprint": made_print},
        n_reports=n_reports,
        should_stop=should_stop,
        on_report=on_report,
    )
    with enough_memory(compute.device, batch_size=batch_size):
        finished = run.run(run.batches(batch_size), run.open_log(), checkpoint_seconds=checkpoint_seconds)
    return Pretrained(finished, run.step, run.n_bases, run.clock.seconds, run.last, trainer.kernels.name)


class _PretrainRun(Training[tuple[int, Portion]]):
    """One run on its way, in one of its processes; `state` is that of its checkpoint, or of its beginning."""

    def __init__(
        self,
        trainer: Trainer,
        corpus: Corpus,
        held_out: Corpus,
        out: Path,
        *,
        name: str,
        made_of: Mapping[str, Any],
        state: Mapping[str, Any],
        n_reports: int,
        **hooks: Any,
    ) -> None:
        config, team = trainer.config, trainer.team
        self.kmers = fit_baseline(corpus, config)
        self.measured = {
            i: views_of(held_out, range(i, min(i + 32, len(held_out))), epoch=VALID_EPOCH, config=config)
            for i in range(32 * team.rank, len(held_out), 32 * team.size)
        }
        total, budget = state["total_steps"], state["time_budget"]
        super().__init__(out, state, total_steps=total, budget=budget, team=team, **hooks)
        self.trainer, self.corpus, self.held_out, self.name, self.made_of = trainer, corpus, held_out, name, made_of
        self.last: dict[str, float] = state.get("last", {})
        self.n_collapsed: int = state.get("n_collapsed", 0)
        self.rewarm_from: int | None = state.get("rewarm_from")
        self.next_report: float = state.get("next_report", self.step / total)
        self.n_reports, self.fingerprint = n_reports, state["fingerprint"]

    def batches(self, batch_size: int) -> Iterator[tuple[int, Portion]]:
        """Yield (epoch, this process's portion) of every update to come."""
        config, team = self.trainer.config, self.team
        for epoch, indices in iter_steps(len(self.corpus), batch_size, seed=config.seed, start=self.step):
            portion = portion_of(self.corpus, indices, epoch=epoch, config=config, rank=team.rank, size=team.size)
            yield epoch, portion

    def learn(self, item: tuple[int, Portion], progress: float) -> tuple[int, int, dict[str, float]]:
        """See `Training.learn`."""
        (epoch, portion), config = item, self.trainer.config
        rate = learning_rate(progress, peak=config.learning_rate, warmup=config.warmup)
        rate = rewarmed(rate, step=self.step, rewarm_from=self.rewarm_from, total_steps=self.clock.total_steps)
        momentum = cosine(progress, config.momentum, 1.0)
        is_contrasted = progress >= config.contrast_start
        figures = self.trainer.update(portion, rate=rate, momentum=momentum, is_contrasted=is_contrasted)
        return epoch, portion.n_bases, {"learning_rate": rate, "momentum": momentum, **figures}

    def measure(self, epoch: int) -> dict[str, float]:
        """The figures of the held-out windows if a report is due, else none."""
        total = self.clock.total_steps
        if not len(self.held_out) or (self.step / total < self.next_report and self.step < total):
            return {}
        self.next_report += 1 / self.n_reports
        self.last = self.trainer.evaluate(self.measured, self.kmers)
        can_collapse = self.trainer.is_distilled and len(self.held_out) >= MIN_HELD_OUT
        is_low = can_collapse and self.last["effective_rank"] < MIN_RANK
        self.n_collapsed = self.n_collapsed + 1 if is_low else 0
        return self.last

    def check(self) -> None:
        """Raise a TrainingError after two reports of a collapse."""
        if self.n_collapsed >= 2:
            raise TrainingError(
                f"collapsed: the class tokens have an effective rank of {self.last['effective_rank']:.2f}, so the "
                "output is nearly identical for every sequence; raise alpha or teacher_temp, or lower "
                "learning_rate, and start again"
            )

    def save(self, *, finished: bool) -> None:
        """Write a checkpoint, and the teacher as a model; at the end the student, too."""
        if not self.team.is_main:
            return
        state = {
            "fingerprint": self.fingerprint,
            "n_bases": self.n_bases,
            "seconds": self.clock.seconds,
            "last": self.last,
            "next_report": self.next_report,
            "n_collapsed": self.n_collapsed,
            "total_steps": self.clock.total_steps,
            "time_budget": self.clock.budget,
            "rewarm_from": self.rewarm_from,
        }
        trainer = self.trainer
        save_checkpoint(self.out / "checkpoints", self.step, trainer.tensors(), state)
        summary = {
            "finished": finished,
            "steps": self.step,
            "n_bases": self.n_bases,
            "seconds": round(self.clock.seconds),
            **self.last,
        }
        training = {**self.made_of, **trainer.kernels.facts(), "summary": summary}
        models = [(self.out, trainer.teacher, self.name)]  # last: with its config.json, the run is finished
        if finished and trainer.is_distilled:
            models.insert(0, (self.out / STUDENT, trainer.student, f"{self.name}-{STUDENT}"))
        for folder, network, name in models:
            save_model(folder, network, name=name, training=training, card=model_card(name, training))


def _enter(out: Path, resume: bool, team: Team) -> bool:
    """Make the run directory, or find one to resume; whether the run is resumed.

    Raises:
        OutputError: It holds a run already, or cannot be made.
    """
    is_begun = has_checkpoint(out / "checkpoints")
    if resume:  # a run that ended before its first checkpoint begins again
        return is_begun or job_of(out) is None
    if is_restart(team.place, job_of(out)):  # one of this job's processes was lost, and all were started anew
        return is_begun
    open_folder(out)
    return False


def finished_summary(out: Path) -> dict[str, Any] | None:
    """The training facts in the model of a run directory; None if steps are left."""
    try:
        summary: dict[str, Any] = read_json(out / "config.json")["training"]["summary"]
        return summary if summary["finished"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def job_of(out: Path) -> str | None:
    """The job that started a run directory, or None."""
    try:
        return str(read_json(out / "pretrain.json").get("job", ""))
    except (OSError, ValueError, AttributeError):
        return None


def _require_equal(fingerprints: list[Any]) -> None:
    for rank, own in enumerate(fingerprints):
        if own != fingerprints[0]:
            names = [name for name in fingerprints[0] if own[name] != fingerprints[0][name]]
            raise TrainingError(f"process {rank} and process 0 differ in {', '.join(names)}")
