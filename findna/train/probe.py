"""The linear probe: a convex fit by L-BFGS, with the penalty that is best on the validation split."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from findna import phases
from findna.nn.heads import Head
from findna.train.objectives import loss_of, quality

PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Factors of half the squared weights beside the mean loss, strongest first: in scikit-learn's words 1 / (C n)."""

MAX_ITERATIONS = 200
WORSE = 2
"""Number of penalties in a row without a better validation figure after which the search ends."""


class Fit(NamedTuple):
    """The fit with one penalty.

    Args:
        penalty: Factor of half the squared weights.
        loss: Mean training loss, without the penalty.
        valid_loss: Of the validation split.
        valid_auroc: Of the validation split; NaN for a regression.
    """

    penalty: float
    loss: float
    valid_loss: float
    valid_auroc: float


def fit_probe(
    head: Head,
    features: Tensor,
    labels: Tensor,
    *,
    weights: Tensor,
    objective: str,
    measure: Callable[[Head], Mapping[str, float]],
    select: str = "loss",
    class_weights: Tensor | None = None,
    penalties: Sequence[float] = PENALTIES,
) -> list[Fit]:
    """Fit a linear head for each penalty, the strongest first, and keep the best; returns all fits, in order.

    Args:
        head: A linear head, already standardised.
        features: Shape (n, F).
        labels: As for `loss_of`.
        weights: Of the rows, shape (n,).
        objective: One of `findna.recipes.OBJECTIVES`.
        measure: Returns `valid_loss` and `valid_auroc` of a head.
        select: The figure that selects the penalty, see `findna.train.objectives.quality`.
        class_weights: As for `loss_of`.
        penalties: Penalties to try.
    """
    shares = (weights / weights.sum()).float()
    standard = (features - head.center.cpu()) / head.scale.cpu()
    phases.enter("finding the principal axes of the features")
    axes, spread = _principal_axes(standard, shares)
    rows = standard @ axes
    weight, bias = torch.zeros((head.n_outputs, head.n_features)), torch.zeros(head.n_outputs)  # along the axes
    fits: list[Fit] = []
    best: tuple[Tensor, Tensor] | None = None
    highest, n_worse = (-math.inf, -math.inf), 0
    for penalty in phases.track("trying penalties of the head", penalties):
        # Along the principal axes, scaled by the root of the expected curvature, the problem is almost a sphere.
        curvature = (spread / 4 + penalty).sqrt()
        start = (weight * curvature).requires_grad_(), bias.clone().requires_grad_()
        loss = _minimise(rows / curvature, labels, shares, *start, 1 / curvature, penalty, objective, class_weights)
        weight, bias = (start[0] / curvature).detach(), start[1].detach()
        _fill(head, weight @ axes.T, bias)
        figures = measure(head)
        fits.append(Fit(penalty, loss, figures["valid_loss"], figures["valid_auroc"]))
        if best is None or quality(figures, select) > highest:
            best, highest, n_worse = (weight @ axes.T, bias), quality(figures, select), 0
        else:
            n_worse += 1
            if n_worse >= WORSE:
                break
    if best is not None:
        _fill(head, *best)
    return fits


def _principal_axes(rows: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvectors (F, F) and eigenvalues (F,) of the weighted second moments of rows (n, F)."""
    moments = rows.T.double() @ (rows * shares[:, None]).double()
    values, vectors = torch.linalg.eigh(moments)
    return vectors.float(), values.clamp_min(0.0).float()


def _minimise(
    rows: Tensor,
    labels: Tensor,
    shares: Tensor,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    penalty: float,
    objective: str,
    class_weights: Tensor | None,
) -> float:
    """Minimise in place; `rows` are already scaled, and the penalty is on `weight` times `scale`."""
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=MAX_ITERATIONS,
        history_size=20,
        tolerance_grad=1e-6,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )
    loss = torch.zeros(())

    def closure() -> Tensor:
        nonlocal loss
        optimizer.zero_grad()
        scores = torch.addmm(bias, rows, weight.T)
        loss = shares @ loss_of(scores, labels, objective, class_weights=class_weights)
        total = loss + penalty / 2 * (weight * scale).square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return float(loss.detach())


@torch.no_grad()
def _fill(head: Head, weight: Tensor, bias: Tensor) -> None:
    head.out.weight.copy_(weight)
    head.out.bias.copy_(bias)
