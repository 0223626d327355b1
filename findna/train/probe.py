"""The linear probe: a convex fit to the end, by L-BFGS, with the penalty that the validation split likes best."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from findna.nn.heads import Head
from findna.train.objectives import loss_of

PENALTIES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5)
"""Factors of half the squared weights beside the mean loss, strongest first: in scikit-learn's words 1 / (C n)."""

MAX_ITERATIONS = 200
WORSE = 2
"""So many penalties in a row without a better validation loss end the search."""


class Fit(NamedTuple):
    """One penalty's fit.

    Args:
        penalty: Factor of half the squared weights.
        loss: Mean training loss, without the penalty.
        valid_loss: What the caller's measure said.
    """

    penalty: float
    loss: float
    valid_loss: float


def fit_probe(
    head: Head,
    features: Tensor,
    labels: Tensor,
    *,
    weights: Tensor,
    objective: str,
    measure: Callable[[Head], float],
    class_weights: Tensor | None = None,
    penalties: Sequence[float] = PENALTIES,
) -> list[Fit]:
    """Fit a linear head for each penalty, from the strongest on, and leave the best in it; what was tried, in order.

    Args:
        head: Linear, standardised already.
        features: Shape (n, F).
        labels: As for `loss_of`.
        weights: Of the rows, shape (n,).
        objective: One of `findna.config.OBJECTIVES`.
        measure: The validation loss of a head.
        class_weights: As for `loss_of`.
        penalties: To try.
    """
    rows = (features - head.center.cpu()) / head.scale.cpu()
    shares = (weights / weights.sum()).float()
    weight = torch.zeros((head.n_outputs, head.n_features), requires_grad=True)
    bias = torch.zeros(head.n_outputs, requires_grad=True)
    fits: list[Fit] = []
    best: tuple[Tensor, Tensor] | None = None
    n_worse = 0
    for penalty in penalties:
        loss = _minimise(rows, labels, shares, weight, bias, penalty, objective, class_weights)
        _fill(head, weight, bias)
        fits.append(Fit(penalty, loss, measure(head)))
        if fits[-1].valid_loss <= min(fit.valid_loss for fit in fits):
            best, n_worse = (weight.detach().clone(), bias.detach().clone()), 0
        else:
            n_worse += 1
            if n_worse >= WORSE:
                break
    if best is not None:
        _fill(head, *best)
    return fits


def _minimise(
    rows: Tensor,
    labels: Tensor,
    shares: Tensor,
    weight: Tensor,
    bias: Tensor,
    penalty: float,
    objective: str,
    class_weights: Tensor | None,
) -> float:
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=MAX_ITERATIONS,
        history_size=20,
        tolerance_grad=1e-6,
        tolerance_change=1e-8,
        line_search_fn="strong_wolfe",
    )
    loss = torch.zeros(())

    def closure() -> Tensor:
        nonlocal loss
        optimizer.zero_grad()
        scores = torch.addmm(bias, rows, weight.T)
        loss = shares @ loss_of(scores, labels, objective, class_weights=class_weights)
        total = loss + penalty / 2 * weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return float(loss)


@torch.no_grad()
def _fill(head: Head, weight: Tensor, bias: Tensor) -> None:
    head.out.weight.copy_(weight)
    head.out.bias.copy_(bias)
