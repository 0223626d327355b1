"""Pretraining: masked nucleotide modelling and contrastive self-distillation, on one device or on several.

Sections 3.2 to 3.4 and 4.1 of Yu et al. 2024 (arXiv:2405.08538); docs/reproducing.md lists where a preset departs.
"""

import copy
import dataclasses
import json
import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from findna.config import PretrainConfig
from findna.data.ahead import ahead
from findna.data.augment import Views, dissimilarity, make_views, split_views
from findna.data.datasets import Corpus, crop, iter_steps, split_evenly
from findna.errors import ConfigError, FindnaWarning, InputError, OutputError, TrainingError
from findna.io.files import raise_output_error, write_atomic
from findna.io.structured import read_json
from findna.models.store import Model, save_model
from findna.nn.device import Precision, put
from findna.nn.encoder import Encoder, initialise
from findna.nn.kernels import choose
from findna.nn.losses import (
    AXES,
    contrastive_loss,
    masked_nucleotide_loss,
    teacher_probabilities,
    update_center,
    update_teacher,
)
from findna.nn.mixers import make_encoder
from findna.nn.pooling import class_tokens
from findna.sequence import Codes
from findna.train.baseline import MaskedKmerModel
from findna.train.checkpoint import check_same_shapes, load_checkpoint, save_checkpoint
from findna.train.log import Log
from findna.train.parallel import Team, is_restart
from findna.train.portable import rewarmed
from findna.train.schedule import cosine, learning_rate

VALID_EPOCH = 2**32 - 1
"""The "epoch" that keys the views of held-out windows: never reached by a run."""

BASELINE_BASES = 2_000_000
STUDENT = "student"
"""Folder in a run directory, and itself a model folder, with the student of a distillation."""
MIN_HELD_OUT = 16
"""With fewer held-out windows the effective rank, which is below their number, says nothing of a collapse."""
N_FIGURES = 4
"""Of an update, summed over processes and parts: loss, its two parts, bases right."""

MIN_RANK = 1.5
"""Two reports in a row with class tokens of a lower effective rank are a collapse."""


class Losses(NamedTuple):
    """Losses of one batch, and what the health figures need."""

    total: Tensor
    mnm: Tensor
    contrastive: Tensor
    n_right: Tensor
    student_tokens: Tensor
    teacher_tokens: Tensor


class Portion(NamedTuple):
    """What one process takes of an update.

    Args:
        views: Of its own sequences.
        n_sequences: In the whole batch.
        n_masked: Masked bases in the whole batch.
        n_bases: In the whole batch.
    """

    views: Views
    n_sequences: int
    n_masked: int
    n_bases: int


class Measured(NamedTuple):
    """What one batch of held-out windows gave.

    Args:
        order: Place of the batch among all.
        n_sequences: Its windows.
        n_masked: Their masked bases.
        n_right: Of those, how many the student knew.
        n_kmers: How many the k-mer baseline knew.
        total: Loss.
        mnm: Its first part.
        contrastive: Its second part.
        dissimilarity: Of its two views.
        student_tokens: Shape (n_sequences, K, C), on the host.
        teacher_tokens: Same.
    """

    order: int
    n_sequences: int
    n_masked: int
    n_right: int
    n_kmers: int
    total: float
    mnm: float
    contrastive: float
    dissimilarity: float
    student_tokens: Tensor
    teacher_tokens: Tensor


class Report(NamedTuple):
    """Where a run stands, for whoever shows its progress."""

    step: int
    total_steps: int
    row: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended.

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


class Trainer:
    """Student, teacher, center and optimizer of one run; the same in each of its processes.

    Args:
        config: The recipe.
        device: Of this process.
        precision: Of the matrix products and the residual stream.
        team: The processes of the run; None is this one alone.
        initial: Network whose weights student and teacher start from; None draws them.
    """

    def __init__(
        self,
        config: PretrainConfig,
        *,
        device: torch.device,
        precision: Precision,
        team: Team | None = None,
        initial: Encoder | None = None,
    ) -> None:
        self.config, self.device, self.precision, self.team = config, device, precision, team or Team()
        self.kernels = choose(config.model, device=device, precision=precision, is_training=True)
        student = make_encoder(config.model)
        if config.projection:
            student.add_projection(config.projection)
        self.student = initialise(student, config.seed)
        if initial is not None:
            self.student.load_state_dict(initial.state_dict(), strict=False)  # a projection is drawn
        self.student.to(device)
        self.is_distilled = config.alpha < 1
        self.teacher = copy.deepcopy(self.student).requires_grad_(False) if self.is_distilled else self.student
        shape = (config.model.n_class_tokens, config.projection or config.model.channels)
        self.center = torch.zeros(shape, device=device)
        self.optimizers = make_optimizers(config, self.student)
        moments = {
            parameter: optimizer.state[parameter] for optimizer in self.optimizers for parameter in optimizer.state
        }
        self.moments = {name: moments[parameter] for name, parameter in self.student.named_parameters()}
        self._forward = self.team.wrap(self.student)
        self.n_parts = 1  # in which a portion goes through, one after the other

    def losses(
        self, views: Views, *, mnm_share: float = 1.0, sequence_share: float = 1.0, is_contrasted: bool = True
    ) -> Losses:
        """Equation 1 on one batch, or this process's part of it; the student's part carries the gradient.

        Args:
            views: Of the sequences.
            mnm_share: What this part's mean over masked bases counts in that of the whole batch.
            sequence_share: What its mean over sequences counts.
            is_contrasted: Whether the contrast is in the loss; without it the teacher is not run.
        """
        config = self.config
        u, v = views.student, views.teacher
        n_sequences, n_tokens = len(u.rings) - 1, config.model.n_class_tokens
        noise = self._put(views.noise)
        own = noise if "N" in config.student_augment else None
        others = noise if "N" in config.teacher_augment else None
        hidden = self._forward(self._put(u.codes), u.rings, noise=own, precision=self.precision)
        logits = self.student.nucleotide_logits(hidden[self._put(views.masked)])
        targets = self._put(views.targets)
        mnm = masked_nucleotide_loss(logits, targets, n_sequences=n_sequences, reduction=config.reduction) * mnm_share
        p = self.student.projection(class_tokens(hidden, u.rings, n_tokens))
        n_right = (logits.argmax(-1) == targets).sum()
        if not self.is_distilled:
            return Losses(mnm, mnm.detach(), torch.zeros_like(mnm), n_right, p.detach(), p.detach())
        if not is_contrasted:
            total = config.alpha * mnm + 0.0 * p.sum()  # every parameter has a gradient, in every process
            return Losses(total, mnm.detach(), torch.zeros_like(mnm), n_right, p.detach(), p.detach())
        with torch.no_grad():
            seen = self.teacher(self._put(v.codes), v.rings, noise=others, precision=self.precision)
            q = self.teacher.projection(class_tokens(seen, v.rings, n_tokens))
        contrastive = contrastive_loss(
            p,
            q,
            self.center,
            student_temp=config.student_temp,
            teacher_temp=config.teacher_temp,
            reduction=config.reduction,
            contrast=config.contrast,
        )
        contrastive = contrastive * sequence_share
        total = config.alpha * mnm + (1 - config.alpha) * contrastive
        return Losses(total, mnm.detach(), contrastive.detach(), n_right, p.detach(), q)

    def update(self, portion: Portion, *, rate: float, momentum: float, is_contrasted: bool = True) -> dict[str, float]:
        """One step: loss with the center of the step before, the optimizer, then center and teacher.

        The loss, its gradient and all figures are those of the whole batch, however it is portioned.

        Raises:
            TrainingError: The loss or its gradient is not finite; nothing was updated.
        """
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        config = self.config
        summed = self.team.sum(self._gradients(portion, is_contrasted=is_contrasted))
        limit = config.clip or math.inf
        grad_norm = float(torch.nn.utils.clip_grad_norm_(self.student.parameters(), limit))
        loss, mnm, contrastive, n_right = summed[:N_FIGURES].tolist()
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise TrainingError(
                f"diverged: the loss is {loss:.4g} and the gradient's norm {grad_norm:.4g}; "
                "lower --learning-rate and start again"
            )
        for optimizer in self.optimizers:
            optimizer.step()
        if self.is_distilled and is_contrasted:
            seen = summed[N_FIGURES:].view_as(self.center)[None]
            update_center(self.center, seen, center_momentum=config.center_momentum)
        if self.is_distilled:
            update_teacher(self.teacher, self.student, momentum=momentum)
        return {
            "loss": loss,
            "mnm_loss": mnm,
            "contrastive_loss": contrastive,
            "accuracy": n_right / max(1, portion.n_masked),
            "grad_norm": grad_norm,
        }

    def _gradients(self, portion: Portion, *, is_contrasted: bool) -> Tensor:
        """The student's gradients of a portion, left in its parameters; its figures, then its mean class tokens.

        A process alone whose device has too little memory takes the portion in more and more parts, for good.
        """
        while True:
            try:
                for optimizer in self.optimizers:
                    optimizer.zero_grad(set_to_none=True)
                parts = split_views(portion.views, self.n_parts)
                return torch.stack([self._learn(portion, part, is_contrasted=is_contrasted) for part in parts]).sum(0)
            except torch.OutOfMemoryError:
                n_sequences = len(portion.views.student.rings) - 1
                if self.team.size > 1 or 2 * self.n_parts > n_sequences:
                    raise
            if self.n_parts == 1:
                warnings.warn(
                    f"{self.device} has too little memory for a batch of {n_sequences} sequences; gradients are "
                    "accumulated over parts of it, with the same result",
                    FindnaWarning,
                    stacklevel=2,
                )
            self.n_parts *= 2

    def _learn(self, portion: Portion, views: Views, *, is_contrasted: bool) -> Tensor:
        """Add the gradient of some of a portion's views; loss, its two parts, bases right, then the mean tokens."""
        sequence_share = (len(views.student.rings) - 1) / portion.n_sequences
        is_mean = self.config.reduction == "mean"
        mnm_share = len(views.targets) / max(1, portion.n_masked) if is_mean else sequence_share
        losses = self.losses(views, mnm_share=mnm_share, sequence_share=sequence_share, is_contrasted=is_contrasted)
        (losses.total * self.team.size).backward()  # type: ignore[no-untyped-call]  # processes are averaged over
        tokens = losses.teacher_tokens.float().mean(dim=0) * sequence_share  # (K, C)
        figures = torch.stack([losses.total.detach(), losses.mnm, losses.contrastive, losses.n_right.float()])
        return torch.cat([figures, tokens.flatten()])

    @torch.no_grad()
    def evaluate(self, batches: Mapping[int, Views], kmers: MaskedKmerModel) -> dict[str, float]:
        """Held-out losses, masked-base accuracy beside the k-mer baseline's, and the health of the distillation.

        `teacher_entropy` is that of equation 5's softmax, in nats, at most ln K. `effective_rank` is exp of the
        entropy of the normalised singular values of the teacher's centred class tokens, averaged over the K
        tokens. `dissimilarity` is equation 10 of the two views.
        `agreement` is the mean cosine of student's and teacher's class tokens. The student's view is
        masked and the teacher's is not. With a projection these are figures of the projected class tokens.

        Args:
            batches: Those that this process measures, by their place among all.
            kmers: The baseline.

        Raises:
            TrainingError: The class tokens are not finite.
        """
        own = [self._measure(order, views, kmers) for order, views in batches.items()]
        parts = sorted(self.team.gather(own), key=lambda part: part.order)
        weights = [part.n_sequences for part in parts]
        n_masked = max(1, sum(part.n_masked for part in parts))
        p = torch.cat([part.student_tokens for part in parts]).to(self.device)
        q = torch.cat([part.teacher_tokens for part in parts]).to(self.device)
        if not (p.isfinite().all() and q.isfinite().all()):
            raise TrainingError(
                "diverged: the class tokens of held-out windows are not finite; lower --learning-rate and start again"
            )
        figures = {
            "valid_loss": np.average([part.total for part in parts], weights=weights),
            "valid_mnm_loss": np.average([part.mnm for part in parts], weights=weights),
            "valid_contrastive_loss": np.average([part.contrastive for part in parts], weights=weights),
            "valid_accuracy": sum(part.n_right for part in parts) / n_masked,
            "kmer_accuracy": sum(part.n_kmers for part in parts) / n_masked,
            "dissimilarity": np.average([part.dissimilarity for part in parts], weights=weights),
            "effective_rank": effective_rank(q),
            "agreement": float(F.cosine_similarity(p.float(), q.float(), dim=2).mean()),
        }
        if self.is_distilled:
            contrast = self.config.contrast
            target = teacher_probabilities(q, self.center, teacher_temp=self.config.teacher_temp, contrast=contrast)
            figures["teacher_entropy"] = float(torch.special.entr(target).sum(dim=AXES[contrast]).mean())
        return {name: float(value) for name, value in figures.items()}

    def _measure(self, order: int, views: Views, kmers: MaskedKmerModel) -> Measured:
        losses = self.losses(views)
        return Measured(
            order,
            n_sequences=len(views.student.rings) - 1,
            n_masked=len(views.targets),
            n_right=int(losses.n_right),
            n_kmers=int((kmers.predict(views.student, views.masked) == views.targets).sum()),
            total=float(losses.total),
            mnm=float(losses.mnm),
            contrastive=float(losses.contrastive),
            dissimilarity=dissimilarity(views, self.config),
            student_tokens=losses.student_tokens.cpu(),
            teacher_tokens=losses.teacher_tokens.cpu(),
        )

    def tensors(self) -> dict[str, Tensor]:
        """All that a resume needs, by name."""
        state = {f"student.{name}": value for name, value in self.student.state_dict().items()}
        if self.is_distilled:
            state |= {f"teacher.{name}": value for name, value in self.teacher.state_dict().items()}
            state["center"] = self.center
        for name, moments in self.moments.items():
            state |= {f"{moment}.{name}": value for moment, value in moments.items()}
        return state

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Put `tensors()` of an earlier run back in place.

        Raises:
            TrainingError: They are of another network.
        """
        mine = self.tensors()
        check_same_shapes(mine, tensors)
        with torch.no_grad():
            for name, value in mine.items():
                value.copy_(tensors[name])

    def _put(self, array: Any) -> Tensor:
        return put(array, self.device)


def make_optimizers(config: PretrainConfig, student: nn.Module) -> list[torch.optim.Optimizer]:
    """AdamW alone, or Muon for the blocks' matrices and AdamW for the rest; all moments are there, and zero.

    Muon's steps are scaled as AdamW's are (Liu et al. 2025, arXiv:2502.16982), so that one rate serves both.
    """
    named = dict(student.named_parameters())
    is_muon = config.optimizer == "muon"
    matrices = [value for name, value in named.items() if is_muon and name.startswith("blocks.") and value.ndim == 2]
    others = [value for value in named.values() if not any(value is matrix for matrix in matrices)]
    settings: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    adamw = torch.optim.AdamW(others, **settings)
    for value in others:  # so that a checkpoint can be read before the first step
        moments = {"exp_avg": torch.zeros_like(value), "exp_avg_sq": torch.zeros_like(value)}
        adamw.state[value] = {"step": torch.zeros(()), **moments}
    if not matrices:
        return [adamw]
    muon = torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw", **settings)
    for value in matrices:
        muon.state[value] = {"momentum_buffer": torch.zeros_like(value)}
    return [adamw, muon]


def effective_rank(tokens: Tensor) -> float:
    """Exp of the entropy of the normalised singular values of centred class tokens (B, K, C), mean over K."""
    centred = (tokens - tokens.mean(dim=0)).float().cpu().permute(1, 0, 2)  # (K, B, C)
    values = torch.linalg.svdvals(centred)
    shares = values / values.sum(dim=1, keepdim=True).clamp_min(1e-30)
    return float(torch.special.entr(shares).sum(dim=1).exp().mean())


def views_of(corpus: Corpus, indices: Any, *, epoch: int, config: PretrainConfig) -> Views:
    """The views of these windows in this epoch; each depends on (seed, epoch, index) alone."""
    generators, crops = _crops(corpus, indices, epoch=epoch, config=config)
    return make_views(crops, generators, config)


def portion_of(
    corpus: Corpus, indices: Any, *, epoch: int, config: PretrainConfig, rank: int = 0, size: int = 1
) -> Portion:
    """What process `rank` of `size` takes of the batch of these windows: about as many bases as each of the others."""
    generators, crops = _crops(corpus, indices, epoch=epoch, config=config)
    lengths = [len(codes) for codes in crops]
    own = split_evenly(lengths, size)[rank]
    views = make_views([crops[i] for i in own], [generators[i] for i in own], config)
    n_masked = sum(round(config.mask_fraction * length) for length in lengths)
    return Portion(views, len(crops), n_masked, sum(lengths))


def _crops(
    corpus: Corpus, indices: Any, *, epoch: int, config: PretrainConfig
) -> tuple[list[np.random.Generator], list[Codes]]:
    generators = [np.random.default_rng((config.seed, epoch, int(index))) for index in indices]
    crops = [
        crop(corpus[int(index)], rng, min_length=config.min_length)
        for index, rng in zip(indices, generators, strict=True)
    ]
    return generators, crops


def fit_baseline(corpus: Corpus, config: PretrainConfig) -> MaskedKmerModel:
    """The k-mer model of up to 2 Mbp of training windows, masked as the student's are."""
    model = MaskedKmerModel()
    n_bases = 0
    for first in range(0, len(corpus), 64):
        indices = range(first, min(first + 64, len(corpus)))
        views = views_of(corpus, indices, epoch=VALID_EPOCH, config=config)
        model.fit(views.student, views.masked, views.targets)
        n_bases += len(views.student.codes)
        if n_bases > BASELINE_BASES:
            break
    return model


MIN_TICKS = 4
"""Steps after which the throughput is known well enough to fit a run to its time budget."""


class Clock:
    """How many steps the run has, and how far it is: given, or fitted to a time budget as it goes."""

    def __init__(self, total_steps: int, *, budget: float | None, spent: float) -> None:
        self.total_steps = total_steps if budget is None else max(total_steps, MIN_TICKS)
        self.budget = budget
        self._began = time.monotonic() - spent
        self._recent: deque[float] = deque(maxlen=200)

    @property
    def seconds(self) -> float:
        """Time spent, earlier runs that this one resumes included."""
        return time.monotonic() - self._began

    def tick(self, step: int) -> None:
        """Note that a step was made; with a budget, fit the number of steps to what is left of it."""
        self._recent.append(time.monotonic())
        if self.budget is None or len(self._recent) < MIN_TICKS:
            return
        pace = (self._recent[-1] - self._recent[0]) / (len(self._recent) - 1)
        self.total_steps = max(step, step + int((self.budget - self.seconds) / pace))


def pretrain(
    config: PretrainConfig,
    corpus: Corpus,
    held_out: Corpus,
    out: Path,
    *,
    name: str,
    device: torch.device,
    precision: Precision,
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
) -> Outcome:
    """Pretrain a teacher and leave a model folder in `out`, with `log.csv` and `checkpoints/` beside it.

    Args:
        config: The recipe.
        corpus: Training windows.
        held_out: Windows that are only measured on.
        out: The run directory; it is a model folder once the run has ended.
        name: Name of the model.
        device: One CPU or GPU; with a team, this process's.
        precision: Of the matrix products and the residual stream.
        sources: What the windows were made of, for `config.json`; a resume must agree, but its files' names.
        asked: What else `pretrain.json` keeps for a resume; see `findna.train.plan`.
        time_budget: Seconds to fit the run into, instead of a number of steps.
        initial: Model of the recipe's size whose weights the run starts from; None draws them.
        resume: Go on from the newest checkpoint in `out`; on the CPU the result is that of a run never stopped.
        team: The processes of the run, all of which call this; None is this one alone. Their number changes neither
            batches nor losses, and may differ when a run is resumed.
        n_reports: How often the held-out windows are measured.
        checkpoint_seconds: Time between checkpoints.
        should_stop: Asked after every step; True, in one process, writes a checkpoint and ends the run unfinished.
        on_report: Called after every step.

    Raises:
        TrainingError: It diverged, collapsed, ran out of memory, lost a process, or has nothing to resume.
        InputError: There are no windows.
        ConfigError: A batch has fewer sequences than there are processes.
        OutputError: `out` holds a run already, or cannot be made.
    """
    folder = out / "checkpoints"
    team = team or Team()
    if not len(corpus):
        raise InputError("there is no window to train on")
    batch_size = min(config.batch_size, len(corpus))
    if batch_size < team.size:
        raise ConfigError(f"a batch of {batch_size} sequences cannot be split among {team.size} processes")
    resume = team.broadcast(_enter(out, resume, team) if team.is_main else resume)
    network = initial.network if initial else None
    trainer = Trainer(config, device=device, precision=precision, team=team, initial=network)
    made_of = {
        **({"initial": {"name": initial.name, "sha256": initial.sha256}} if initial else {}),
        "config": {**dataclasses.asdict(config), "model": config.model.to_dict()},
        "sources": dict(sources),
        **precision.facts(),
    }
    contents = list(sources.get("files", {}).values())  # a file may be named otherwise when a run goes on
    fingerprint = json.loads(json.dumps({**made_of, "sources": {**sources, "files": contents}}))
    _require_equal(team.gather([fingerprint]))
    total = config.steps or config.epochs * (len(corpus) // batch_size)
    step, n_bases, spent = 0, 0, 0.0
    rewarm_from: int | None = None
    last: dict[str, float] = {}
    next_report, n_collapsed = 0.0, 0
    if resume:
        tensors, state = team.broadcast(load_checkpoint(folder) if team.is_main else ({}, {}))
        if completed(state["fingerprint"]) != fingerprint:
            raise TrainingError(f"{out}: the settings or sources differ from those of the run to resume")
        trainer.load(tensors)
        step, n_bases, spent, last = state["step"], state["n_bases"], state["seconds"], state["last"]
        total, time_budget = state["total_steps"], state["time_budget"]
        rewarm_from = state.get("rewarm_from")
        next_report, n_collapsed = state.get("next_report", step / total), state.get("n_collapsed", 0)
    if team.is_main:
        stored = {**made_of, "plan": dict(asked), "job": team.place.job}
        write_atomic(out / "pretrain.json", json.dumps(stored, indent=2) + "\n")
    kmers = fit_baseline(corpus, config)
    measured = {
        i: views_of(held_out, range(i, min(i + 32, len(held_out))), epoch=VALID_EPOCH, config=config)
        for i in range(32 * team.rank, len(held_out), 32 * team.size)
    }
    clock = Clock(total, budget=time_budget, spent=spent)
    log = Log(out, step=step) if team.is_main else None

    def save(finished: bool) -> None:
        if log is None:
            return
        state = {
            "fingerprint": fingerprint,
            "n_bases": n_bases,
            "seconds": clock.seconds,
            "last": last,
            "next_report": next_report,
            "n_collapsed": n_collapsed,
            "total_steps": clock.total_steps,
            "time_budget": time_budget,
            "rewarm_from": rewarm_from,
        }
        log.flush()  # a resume keeps the rows up to its checkpoint
        save_checkpoint(folder, step, trainer.tensors(), state)
        summary = {
            "finished": finished,
            "steps": step,
            "n_bases": n_bases,
            "seconds": round(clock.seconds),
            **last,
        }
        training = {**made_of, **trainer.kernels.facts(), "summary": summary}
        save_model(out, trainer.teacher, name=name, training=training, card=model_card(name, training))
        if finished and trainer.is_distilled:
            name_of_student = f"{name}-{STUDENT}"
            card = model_card(name_of_student, training)
            save_model(out / STUDENT, trainer.student, name=name_of_student, training=training, card=card)

    def batches() -> Iterator[tuple[int, Portion]]:
        for epoch, indices in iter_steps(len(corpus), batch_size, seed=config.seed, start=step):
            yield epoch, portion_of(corpus, indices, epoch=epoch, config=config, rank=team.rank, size=team.size)

    can_collapse = trainer.is_distilled and len(held_out) >= MIN_HELD_OUT
    saved_at, began, began_bases = time.monotonic(), time.monotonic(), n_bases
    stream = ahead(batches())
    try:
        while step < clock.total_steps:
            progress = (step + 0.5) / clock.total_steps
            epoch, portion = next(stream)
            rate = learning_rate(progress, peak=config.learning_rate, warmup=config.warmup)
            rate = rewarmed(rate, step=step, rewarm_from=rewarm_from, total_steps=clock.total_steps)
            momentum = cosine(progress, config.momentum, 1.0)
            is_contrasted = progress >= config.contrast_start
            figures = trainer.update(portion, rate=rate, momentum=momentum, is_contrasted=is_contrasted)
            step += 1
            n_bases += portion.n_bases
            clock.tick(step)
            clock.total_steps, is_stopped = team.agree(clock.total_steps, should_stop())
            row: dict[str, float] = {
                "step": step,
                "epoch": epoch,
                "n_bases": n_bases,
                "seconds": clock.seconds,
            }
            row["bases_per_second"] = (n_bases - began_bases) / (time.monotonic() - began)
            row |= {"learning_rate": rate, "momentum": momentum, **figures}
            if len(held_out) and (step / clock.total_steps >= next_report or step >= clock.total_steps):
                next_report += 1 / n_reports
                last = trainer.evaluate(measured, kmers)
                row |= last
                n_collapsed = n_collapsed + 1 if can_collapse and last["effective_rank"] < MIN_RANK else 0
            if log is not None:
                log.write(row)
            on_report(Report(step, clock.total_steps, row))
            if n_collapsed >= 2:
                raise TrainingError(
                    f"collapsed: the class tokens have an effective rank of {last['effective_rank']:.2f}, so the "
                    "output is nearly identical for every sequence; raise --teacher-temp or --alpha, or lower "
                    "--learning-rate, and start again"
                )
            if is_stopped:
                save(finished=False)
                return Outcome(False, step, n_bases, clock.seconds, last, trainer.kernels.name)
            if time.monotonic() - saved_at > checkpoint_seconds:
                save(finished=False)
                saved_at = time.monotonic()
        save(finished=True)
    except torch.OutOfMemoryError as error:
        raise TrainingError(f"out of memory on {device}; lower --batch-size ({batch_size})") from error
    finally:
        stream.close()  # type: ignore[attr-defined]
        if log is not None:
            log.close()
    return Outcome(True, step, n_bases, clock.seconds, last, trainer.kernels.name)


def _enter(out: Path, resume: bool, team: Team) -> bool:
    """Make the run directory, or see that there is one to go on with; whether the run is resumed.

    Raises:
        OutputError: It holds a run already, or cannot be made.
    """
    if resume:
        return True
    if is_restart(team.place, job_of(out)):  # one of this job's processes was lost, and all were started anew
        return any((out / "checkpoints").glob("step-*.json"))
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise OutputError(f"{out}: holds a run already; --resume continues it, or choose another --out")
    except OSError as error:
        raise_output_error(error, out)
    return False


def job_of(out: Path) -> str | None:
    """The job that began a run directory; None where there is none."""
    try:
        return str(read_json(out / "pretrain.json").get("job", ""))
    except (OSError, ValueError, AttributeError):
        return None


def completed(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """A stored fingerprint with the defaults of settings that came after it was written."""
    config = PretrainConfig.from_dict(fingerprint["config"])
    return {**fingerprint, "config": {**dataclasses.asdict(config), "model": config.model.to_dict()}}


def _require_equal(fingerprints: list[Any]) -> None:
    for rank, fingerprint in enumerate(fingerprints):
        if fingerprint != fingerprints[0]:
            names = [name for name in fingerprints[0] if fingerprint[name] != fingerprints[0][name]]
            raise TrainingError(f"process {rank} and process 0 differ in {', '.join(names)}")


def model_card(name: str, training: Mapping[str, Any]) -> str:
    """The CARD.md of a run: what it is, what it was made of, how it did, and what it is not."""
    summary, config = training["summary"], training["config"]
    lines = [
        f"# {name}",
        "",
        "A DNA encoder pretrained by `findna pretrain` with the method of Yu et al. 2024 (arXiv:2405.08538).",
        "",
        "| | |",
        "|---|---|",
        *(f"| {key} | {value} |" for key, value in config["model"].items()),
        *(f"| {key} | {value} |" for key, value in config.items() if key != "model"),
        f"| products | {training['products']} |",
        *(f"| source {key} | {value} |" for key, value in training["sources"].items()),
        *(
            f"| {key} | {value:.4g} |" if isinstance(value, float) else f"| {key} | {value} |"
            for key, value in summary.items()
        ),
        "",
        "Not measured for any clinical use. What it has learned is the sequence it was trained on, and no more.",
    ]
    return "\n".join(lines) + "\n"
