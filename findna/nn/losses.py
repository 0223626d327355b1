"""The two objectives of pretraining, the center and the teacher: equations 2 to 9 of Yu et al. (arXiv:2405.08538)."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Reduction = Literal["sum", "mean"]
Contrast = Literal["tokens", "features"]
AXES: dict[Contrast, int] = {"tokens": 1, "features": 2}
"""The axis of a softmax over the tokens, or the features, of class tokens (B, K, C)."""


def masked_nucleotide_loss(logits: Tensor, targets: Tensor, *, n_sequences: int, reduction: Reduction) -> Tensor:
    """Cross-entropy, in nats, of the predicted to the true nucleotides at the masked positions; shape ().

    Equations 2 and 3. "sum" adds over a sequence's masked positions and averages over the batch; "mean"
    averages over all masked positions, independent of the length.

    Args:
        logits: Over A C G T N, at the masked positions of the whole batch, shape (M, 5).
        targets: Codes 0-4 before masking, shape (M,).
        n_sequences: B, sequences in the batch.
        reduction: "sum" or "mean".
    """
    total = F.cross_entropy(logits.float(), targets.long(), reduction="sum")
    return total / (n_sequences if reduction == "sum" else max(1, len(targets)))


def teacher_probabilities(
    teacher: Tensor, center: Tensor, *, teacher_temp: float, contrast: Contrast = "tokens"
) -> Tensor:
    """Equation 5: softmax over the K tokens of each feature, centred and sharpened; shape (B, K, C).

    With "features", over the features of each token, as in the published code.
    """
    return F.softmax((teacher.float() - center) / teacher_temp, dim=AXES[contrast])


def contrastive_loss(
    student: Tensor,
    teacher: Tensor,
    center: Tensor,
    *,
    student_temp: float,
    teacher_temp: float,
    reduction: Reduction,
    contrast: Contrast = "tokens",
) -> Tensor:
    """Cross-entropy, in nats, of the student's class tokens to the teacher's; shape ().

    Equations 4, 5, 7 and 8: for each feature i, `-Σ_k softmax_k((q - ξ) / τ_t) · log softmax_k(p / τ_s)`
    over the K tokens, averaged over the batch; "sum" adds the features, "mean" averages them. With the contrast
    over features, tokens and features are exchanged, as in the published code.

    Args:
        student: Class tokens p of the masked view, shape (B, K, C): batch, tokens, channels.
        teacher: Class tokens q of the other view, same shape. Receives no gradient.
        center: Running mean ξ of the teacher's tokens, shape (K, C).
        student_temp: τ_s > 0, no unit.
        teacher_temp: τ_t > 0, no unit; the smaller, the sharper the target.
        reduction: "sum" or "mean".
        contrast: Axis of the softmax: "tokens" or "features".

    Raises:
        ValueError: The shapes differ or a temperature is not positive.
    """
    if student.shape != teacher.shape or center.shape != student.shape[1:]:
        raise ValueError(
            f"student {tuple(student.shape)} cannot be combined with teacher {tuple(teacher.shape)} and center "
            f"{tuple(center.shape)}: shapes must be (B, K, C), (B, K, C) and (K, C)"
        )
    if min(student_temp, teacher_temp) <= 0:
        raise ValueError(f"temperatures {student_temp} and {teacher_temp} must be positive")
    target = teacher_probabilities(teacher.detach(), center, teacher_temp=teacher_temp, contrast=contrast)
    log_p = F.log_softmax(student.float() / student_temp, dim=AXES[contrast])  # equation 4
    entropies = -(target * log_p).sum(dim=AXES[contrast])  # (B, C), or over features (B, K)
    return entropies.sum(dim=1).mean() if reduction == "sum" else entropies.mean()


@torch.no_grad()
def update_center(center: Tensor, teacher: Tensor, *, center_momentum: float) -> None:
    """Equation 6, in place: ξ <- β ξ + (1 - β) c, with c the mean of the teacher's tokens over the batch.

    Args:
        center: ξ, shape (K, C).
        teacher: The teacher's class tokens, shape (B, K, C).
        center_momentum: β.
    """
    center.lerp_(teacher.float().mean(dim=0), 1 - center_momentum)


@torch.no_grad()
def update_teacher(teacher: torch.nn.Module, student: torch.nn.Module, *, momentum: float) -> None:
    """Equation 9, in place: θ_t <- λ θ_t + (1 - λ) θ_s."""
    theirs: list[Tensor] = list(teacher.parameters())
    ours: list[Tensor] = list(student.parameters())
    torch._foreach_lerp_(theirs, ours, 1 - momentum)
