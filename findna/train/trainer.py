"""Student, teacher, center and optimizer of one pretraining: an update, a measurement, a state."""

import copy
import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from findna.data.augment import Views, dissimilarity, split_views
from findna.errors import FindnaWarning, TrainingError
from findna.nn.device import Compute, put
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
from findna.recipes import PretrainConfig
from findna.train.baseline import MaskedKmerModel
from findna.train.checkpoint import check_same_shapes
from findna.train.loop import check_finite
from findna.train.optimizers import effective_rank, make_optimizers
from findna.train.parallel import Team
from findna.train.views import Portion

N_FIGURES = 4
"""Of an update, summed over processes and parts: loss, its two parts, correct masked bases."""


class Losses(NamedTuple):
    """Losses of one batch, and values for the health figures."""

    total: Tensor
    mnm: Tensor
    contrastive: Tensor
    n_right: Tensor
    student_tokens: Tensor
    teacher_tokens: Tensor


class HeldOutLosses(NamedTuple):
    """The figures of one batch of held-out windows.

    Args:
        order: Index of the batch.
        n_sequences: Its number of windows.
        n_masked: Their number of masked bases.
        n_kmers: Number of masked bases that the k-mer baseline predicted.
        dissimilarity: Of its two views.
        losses: On the host.
    """

    order: int
    n_sequences: int
    n_masked: int
    n_kmers: int
    dissimilarity: float
    losses: Losses


class Trainer:
    """Student, teacher, center and optimizer of one run; the same in each of its processes.

    Args:
        config: The recipe.
        compute: Where and how this process computes.
        team: The processes of the run; None: only this one.
        initial: Network with the initial weights of student and teacher; None: random weights.
    """

    def __init__(
        self, config: PretrainConfig, *, compute: Compute, team: Team | None = None, initial: Encoder | None = None
    ) -> None:
        self.config, self.device, self.precision = config, compute.device, compute.precision
        self.team = team or Team()
        self.kernels = choose(config.model, device=compute.device, precision=compute.precision, is_training=True)
        student = make_encoder(config.model)
        if config.projection:
            student.add_projection(config.projection)
        self.student = initialise(student, config.seed)
        if initial is not None:
            self.student.load_state_dict(initial.state_dict(), strict=False)  # a projection is drawn
        self.student.to(self.device)
        self.is_distilled = config.alpha < 1
        self.teacher = copy.deepcopy(self.student).requires_grad_(False) if self.is_distilled else self.student
        shape = (config.model.n_class_tokens, config.projection or config.model.channels)
        self.center = torch.zeros(shape, device=self.device)
        self.optimizers = make_optimizers(config, self.student)
        moments = {
            parameter: optimizer.state[parameter] for optimizer in self.optimizers for parameter in optimizer.state
        }
        self.moments = {name: moments[parameter] for name, parameter in self.student.named_parameters()}
        self._forward = self.team.wrap(self.student)
        self.n_parts = 1  # of a portion, one after the other

    def losses(
        self, views: Views, *, mnm_share: float = 1.0, sequence_share: float = 1.0, is_contrasted: bool = True
    ) -> Losses:
        """Equation 1 on one batch, or this process's part of it; the student's part carries the gradient.

        Args:
            views: Of the sequences.
            mnm_share: Weight of this part's mean over masked bases in that of the batch.
            sequence_share: Weight of its mean over sequences.
            is_contrasted: Whether the contrast is in the loss; if not, the teacher is not run.
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
        """Make one update: loss with the center of the previous step, optimizer, then center and teacher.

        The loss, its gradient and all figures are those of the whole batch, in any portions.

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
        check_finite(loss, grad_norm)
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
        """Add the student's gradients of a portion; returns its figures, then its mean class tokens.

        If the device has too little memory, a single process uses more and more parts, also in later steps.
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
        """Add the gradient of some views; returns the loss, its two parts, the correct bases, then the mean tokens."""
        sequence_share = (len(views.student.rings) - 1) / portion.n_sequences
        is_mean = self.config.reduction == "mean"
        mnm_share = len(views.targets) / max(1, portion.n_masked) if is_mean else sequence_share
        losses = self.losses(views, mnm_share=mnm_share, sequence_share=sequence_share, is_contrasted=is_contrasted)
        (losses.total * self.team.size).backward()  # type: ignore[no-untyped-call]  # averaged over processes
        tokens = losses.teacher_tokens.float().mean(dim=0) * sequence_share  # (K, C)
        figures = torch.stack([losses.total.detach(), losses.mnm, losses.contrastive, losses.n_right.float()])
        return torch.cat([figures, tokens.flatten()])

    @torch.no_grad()
    def evaluate(self, batches: Mapping[int, Views], kmers: MaskedKmerModel) -> dict[str, float]:
        """Held-out losses, masked-base accuracy, also of the k-mer baseline, and the health of the distillation.

        `teacher_entropy` is that of equation 5's softmax, in nats, at most ln K. `effective_rank` is exp of the
        entropy of the normalised singular values of the teacher's centred class tokens, averaged over the K
        tokens. `dissimilarity` is equation 10 of the two views.
        `agreement` is the mean cosine of student's and teacher's class tokens. The student's view is
        masked and the teacher's is not. With a projection, the figures are those of the projected class tokens.

        Args:
            batches: The batches that this process measures, by index.
            kmers: The baseline.

        Raises:
            TrainingError: The class tokens are not finite.
        """
        own = [self._measure(order, views, kmers) for order, views in batches.items()]
        parts = sorted(self.team.gather(own), key=lambda part: part.order)
        weights = [part.n_sequences for part in parts]
        n_masked = max(1, sum(part.n_masked for part in parts))
        losses = [part.losses for part in parts]
        p, q = (
            torch.cat([getattr(one, f"{whose}_tokens") for one in losses]).to(self.device)
            for whose in ("student", "teacher")
        )
        if not (p.isfinite().all() and q.isfinite().all()):
            raise TrainingError(
                "diverged: the class tokens of held-out windows are not finite; lower learning_rate and start again"
            )
        figures = {
            "valid_loss": np.average([float(one.total) for one in losses], weights=weights),
            "valid_mnm_loss": np.average([float(one.mnm) for one in losses], weights=weights),
            "valid_contrastive_loss": np.average([float(one.contrastive) for one in losses], weights=weights),
            "valid_accuracy": sum(int(one.n_right) for one in losses) / n_masked,
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

    def _measure(self, order: int, views: Views, kmers: MaskedKmerModel) -> HeldOutLosses:
        n_kmers = int((kmers.predict(views.student, views.masked) == views.targets).sum())
        losses = Losses(*(value.cpu() for value in self.losses(views)))
        n_sequences = len(views.student.rings) - 1
        return HeldOutLosses(order, n_sequences, len(views.targets), n_kmers, dissimilarity(views, self.config), losses)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors for a resume, by name."""
        state = {f"student.{name}": value for name, value in self.student.state_dict().items()}
        if self.is_distilled:
            state |= {f"teacher.{name}": value for name, value in self.teacher.state_dict().items()}
            state["center"] = self.center
        for name, moments in self.moments.items():
            state |= {f"{moment}.{name}": value for moment, value in moments.items()}
        return state

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore `tensors()` of an earlier run.

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
