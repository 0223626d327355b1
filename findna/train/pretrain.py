"""Pretraining: masked nucleotide modelling and contrastive self-distillation on one device.

Sections 3.2 to 3.4 and 4.1 of Yu et al. 2024 (arXiv:2405.08538); docs/reproducing.md lists where a preset departs.
"""

import copy
import dataclasses
import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from findna.config import PretrainConfig
from findna.data.ahead import ahead
from findna.data.augment import Views, make_views
from findna.data.datasets import Corpus, crop, iter_steps
from findna.errors import InputError, OutputError, TrainingError
from findna.io.files import raise_output_error, write_atomic
from findna.models.store import save_model
from findna.nn.chordmixer import ChordMixer, initialise
from findna.nn.losses import (
    contrastive_loss,
    masked_nucleotide_loss,
    teacher_probabilities,
    update_center,
    update_teacher,
)
from findna.nn.pooling import class_tokens
from findna.train.baseline import MaskedKmerModel
from findna.train.checkpoint import load_checkpoint, save_checkpoint
from findna.train.log import Log
from findna.train.schedule import cosine, learning_rate

VALID_EPOCH = 2**32 - 1
"""The "epoch" that keys the views of held-out windows: never reached by a run."""

BASELINE_BASES = 2_000_000
MIN_HELD_OUT = 16
"""With fewer held-out windows the effective rank, which is below their number, says nothing of a collapse."""
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
    """

    finished: bool
    step: int
    n_bases: int
    seconds: float
    last: Mapping[str, float]


class Trainer:
    """Student, teacher, center and optimizer of one run."""

    def __init__(self, config: PretrainConfig, *, device: torch.device, products: torch.dtype) -> None:
        self.config, self.device, self.products = config, device, products
        self.student = initialise(ChordMixer(config.model), config.seed).to(device)
        self.is_distilled = config.alpha < 1
        self.teacher = copy.deepcopy(self.student).requires_grad_(False) if self.is_distilled else self.student
        shape = (config.model.n_class_tokens, config.model.channels)
        self.center = torch.zeros(shape, device=device)
        self.optimizer = torch.optim.AdamW(
            self.student.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        for parameter in self.student.parameters():  # so that a checkpoint can be read before the first step
            self.optimizer.state[parameter] = {
                "step": torch.zeros(()),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }

    def losses(self, views: Views) -> Losses:
        """Equation 1 on one batch; the student's part carries the gradient."""
        config = self.config
        u, v = views.student, views.teacher
        n_sequences, n_tokens = len(u.rings) - 1, config.model.n_class_tokens
        hidden = self.student(self._put(u.codes), u.rings, products=self.products)
        logits = self.student.nucleotide_logits(hidden[self._put(views.masked)])
        targets = self._put(views.targets)
        mnm = masked_nucleotide_loss(logits, targets, n_sequences=n_sequences, reduction=config.reduction)
        p = class_tokens(hidden, u.rings, n_tokens)
        n_right = (logits.argmax(-1) == targets).sum()
        if not self.is_distilled:
            return Losses(mnm, mnm.detach(), torch.zeros(()), n_right, p.detach(), p.detach())
        with torch.no_grad():
            noise = self._put(views.noise)
            seen = self.teacher(self._put(v.codes), v.rings, noise=noise, products=self.products)
            q = class_tokens(seen, v.rings, n_tokens)
        contrastive = contrastive_loss(
            p,
            q,
            self.center,
            student_temp=config.student_temp,
            teacher_temp=config.teacher_temp,
            reduction=config.reduction,
        )
        total = config.alpha * mnm + (1 - config.alpha) * contrastive
        return Losses(total, mnm.detach(), contrastive.detach(), n_right, p.detach(), q)

    def update(self, views: Views, *, rate: float, momentum: float) -> dict[str, float]:
        """One step: loss with the center of the step before, AdamW, then center and teacher.

        Raises:
            TrainingError: The loss or its gradient is not finite; nothing was updated.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses = self.losses(views)
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()  # type: ignore[no-untyped-call]
        limit = self.config.clip or math.inf
        grad_norm = float(torch.nn.utils.clip_grad_norm_(self.student.parameters(), limit))
        loss = losses.total.item()
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise TrainingError(
                f"diverged: the loss is {loss:.4g} and the gradient's norm {grad_norm:.4g}; "
                "lower --learning-rate and start again"
            )
        self.optimizer.step()
        if self.is_distilled:
            update_center(self.center, losses.teacher_tokens, center_momentum=self.config.center_momentum)
            update_teacher(self.teacher, self.student, momentum=momentum)
        return {
            "loss": loss,
            "mnm_loss": float(losses.mnm),
            "contrastive_loss": float(losses.contrastive),
            "accuracy": int(losses.n_right) / max(1, len(views.targets)),
            "grad_norm": grad_norm,
        }

    @torch.no_grad()
    def evaluate(self, batches: list[Views], kmers: MaskedKmerModel) -> dict[str, float]:
        """Held-out losses, masked-base accuracy beside the k-mer baseline's, and the health of the distillation.

        `teacher_entropy` is that of equation 5's softmax, in nats, at most ln K. `effective_rank` is exp of the
        entropy of the normalised singular values of the teacher's centred class tokens, averaged over the K
        tokens. `agreement` is the mean cosine of student's and teacher's class tokens. The student's view is
        masked and the teacher's is not.

        Raises:
            TrainingError: The class tokens are not finite.
        """
        parts = [self.losses(views) for views in batches]
        weights = [len(views.student.rings) - 1 for views in batches]
        n_masked = sum(len(views.targets) for views in batches)
        n_kmers = sum(int((kmers.predict(v.student, v.masked) == v.targets).sum()) for v in batches)
        p = torch.cat([part.student_tokens for part in parts])
        q = torch.cat([part.teacher_tokens for part in parts])
        if not (p.isfinite().all() and q.isfinite().all()):
            raise TrainingError(
                "diverged: the class tokens of held-out windows are not finite; lower --learning-rate and start again"
            )
        figures = {
            "valid_loss": np.average([float(part.total) for part in parts], weights=weights),
            "valid_mnm_loss": np.average([float(part.mnm) for part in parts], weights=weights),
            "valid_contrastive_loss": np.average([float(part.contrastive) for part in parts], weights=weights),
            "valid_accuracy": sum(int(part.n_right) for part in parts) / max(1, n_masked),
            "kmer_accuracy": n_kmers / max(1, n_masked),
            "effective_rank": effective_rank(q),
            "agreement": float(F.cosine_similarity(p.float(), q.float(), dim=2).mean()),
        }
        if self.is_distilled:
            target = teacher_probabilities(q, self.center, teacher_temp=self.config.teacher_temp)
            figures["teacher_entropy"] = float(torch.special.entr(target).sum(dim=1).mean())
        return {name: float(value) for name, value in figures.items()}

    def tensors(self) -> dict[str, Tensor]:
        """All that a resume needs, by name."""
        state = {f"student.{name}": value for name, value in self.student.state_dict().items()}
        if self.is_distilled:
            state |= {f"teacher.{name}": value for name, value in self.teacher.state_dict().items()}
            state["center"] = self.center
        for name, parameter in self.student.named_parameters():
            for moment, value in self.optimizer.state[parameter].items():
                state[f"{moment}.{name}"] = value
        return state

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Put `tensors()` of an earlier run back in place.

        Raises:
            TrainingError: They are of another network.
        """
        mine = self.tensors()
        if {k: v.shape for k, v in mine.items()} != {k: v.shape for k, v in tensors.items()}:
            raise TrainingError("the checkpoint is of another network: its tensors differ in name or shape")
        with torch.no_grad():
            for name, value in mine.items():
                value.copy_(tensors[name])

    def _put(self, array: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device, non_blocking=True)


def effective_rank(tokens: Tensor) -> float:
    """Exp of the entropy of the normalised singular values of centred class tokens (B, K, C), mean over K."""
    centred = (tokens - tokens.mean(dim=0)).float().cpu().permute(1, 0, 2)  # (K, B, C)
    values = torch.linalg.svdvals(centred)
    shares = values / values.sum(dim=1, keepdim=True).clamp_min(1e-30)
    return float(torch.special.entr(shares).sum(dim=1).exp().mean())


def views_of(corpus: Corpus, indices: Any, *, epoch: int, config: PretrainConfig) -> Views:
    """The views of these windows in this epoch; each depends on (seed, epoch, index) alone."""
    generators = [np.random.default_rng((config.seed, epoch, int(index))) for index in indices]
    crops = [
        crop(corpus[int(index)], rng, min_length=config.min_length)
        for index, rng in zip(indices, generators, strict=True)
    ]
    return make_views(crops, generators, config)


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
    products: torch.dtype,
    sources: Mapping[str, Any],
    asked: Mapping[str, Any] = MappingProxyType({}),
    time_budget: float | None = None,
    resume: bool = False,
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
        device: One CPU or GPU.
        products: Type of the matrix products.
        sources: What the windows were made of, for `config.json`; a resume must agree, but its files' names.
        asked: What else `pretrain.json` keeps for a resume; see `findna.train.plan`.
        time_budget: Seconds to fit the run into, instead of a number of steps.
        resume: Go on from the newest checkpoint in `out`; on the CPU the result is that of a run never stopped.
        n_reports: How often the held-out windows are measured.
        checkpoint_seconds: Time between checkpoints.
        should_stop: Asked after every step; True writes a checkpoint and ends the run unfinished.
        on_report: Called after every step.

    Raises:
        TrainingError: It diverged, collapsed, ran out of memory, or has nothing to resume.
        InputError: There are no windows.
        OutputError: `out` holds a run already, or cannot be made.
    """
    folder = out / "checkpoints"
    if not len(corpus):
        raise InputError("there is no window to train on")
    try:
        if not resume:
            out.mkdir(parents=True, exist_ok=True)
            if any(out.iterdir()):
                raise OutputError(f"{out}: holds a run already; --resume goes on with it, or choose another --out")
    except OSError as error:
        raise_output_error(error, out)
    trainer = Trainer(config, device=device, products=products)
    made_of = {
        "config": {**dataclasses.asdict(config), "model": config.model.to_dict()},
        "sources": dict(sources),
        "products": str(products).removeprefix("torch."),
    }
    contents = list(sources.get("files", {}).values())  # a file may be named otherwise when a run goes on
    fingerprint = json.loads(json.dumps({**made_of, "sources": {**sources, "files": contents}}))
    batch_size = min(config.batch_size, len(corpus))
    total = config.steps or config.epochs * (len(corpus) // batch_size)
    step, n_bases, spent = 0, 0, 0.0
    last: dict[str, float] = {}
    next_report, n_collapsed = 0.0, 0
    if resume:
        tensors, state = load_checkpoint(folder)
        if state["fingerprint"] != fingerprint:
            raise TrainingError(f"{out}: the settings or sources differ from those of the run to resume")
        trainer.load(tensors)
        step, n_bases, spent, last = state["step"], state["n_bases"], state["seconds"], state["last"]
        total, time_budget = state["total_steps"], state["time_budget"]
        next_report, n_collapsed = state.get("next_report", step / total), state.get("n_collapsed", 0)
    write_atomic(out / "pretrain.json", json.dumps({**made_of, "plan": dict(asked)}, indent=2) + "\n")
    kmers = fit_baseline(corpus, config)
    measured = [
        views_of(held_out, range(i, min(i + 32, len(held_out))), epoch=VALID_EPOCH, config=config)
        for i in range(0, len(held_out), 32)
    ]
    clock = Clock(total, budget=time_budget, spent=spent)
    log = Log(out, step=step)

    def save(finished: bool) -> None:
        state = {
            "fingerprint": fingerprint,
            "n_bases": n_bases,
            "seconds": clock.seconds,
            "last": last,
            "next_report": next_report,
            "n_collapsed": n_collapsed,
            "total_steps": clock.total_steps,
            "time_budget": time_budget,
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
        training = {**made_of, "summary": summary}
        save_model(out, trainer.teacher, name=name, training=training, card=model_card(name, training))

    def batches() -> Iterator[tuple[int, Views]]:
        for epoch, indices in iter_steps(len(corpus), batch_size, seed=config.seed, start=step):
            yield epoch, views_of(corpus, indices, epoch=epoch, config=config)

    can_collapse = trainer.is_distilled and len(held_out) >= MIN_HELD_OUT
    saved_at, began, began_bases = time.monotonic(), time.monotonic(), n_bases
    stream = ahead(batches())
    try:
        while step < clock.total_steps:
            progress = (step + 0.5) / clock.total_steps
            epoch, views = next(stream)
            rate = learning_rate(progress, peak=config.learning_rate, warmup=config.warmup)
            momentum = cosine(progress, config.momentum, 1.0)
            figures = trainer.update(views, rate=rate, momentum=momentum)
            step += 1
            n_bases += len(views.student.codes) - config.model.n_class_tokens * (len(views.student.rings) - 1)
            clock.tick(step)
            row: dict[str, float] = {
                "step": step,
                "epoch": epoch,
                "n_bases": n_bases,
                "seconds": clock.seconds,
            }
            row["bases_per_second"] = (n_bases - began_bases) / (time.monotonic() - began)
            row |= {"learning_rate": rate, "momentum": momentum, **figures}
            if measured and (step / clock.total_steps >= next_report or step >= clock.total_steps):
                next_report += 1 / n_reports
                last = trainer.evaluate(measured, kmers)
                row |= last
                n_collapsed = n_collapsed + 1 if can_collapse and last["effective_rank"] < MIN_RANK else 0
            log.write(row)
            on_report(Report(step, clock.total_steps, row))
            if n_collapsed >= 2:
                raise TrainingError(
                    f"collapsed: the class tokens have an effective rank of {last['effective_rank']:.2f}, so the "
                    "teacher says the same of every sequence; raise --teacher-temp or --alpha, or lower "
                    "--learning-rate, and start again"
                )
            if should_stop():
                save(finished=False)
                return Outcome(False, step, n_bases, clock.seconds, last)
            if time.monotonic() - saved_at > checkpoint_seconds:
                save(finished=False)
                saved_at = time.monotonic()
        save(finished=True)
    except torch.OutOfMemoryError as error:
        raise TrainingError(f"out of memory on {device}; lower --batch-size ({batch_size})") from error
    finally:
        stream.close()  # type: ignore[attr-defined]
        log.close()
    return Outcome(True, step, n_bases, clock.seconds, last)


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
