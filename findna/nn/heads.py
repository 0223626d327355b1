"""The head of a task model: standardised features to one output per class, label or value."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Head(nn.Module):
    """Linear layer, or MLP with one hidden layer, on standardised features.

    Args:
        n_features: F, number of features.
        n_outputs: Classes, labels, or 1 for a regression.
        hidden: Width of the hidden layer; 0: a linear head.
        dropout: Dropout probability of the features and the hidden layer, in training.

    Attributes:
        center: Subtracted from the features, shape (F,); zero until `standardise`.
        scale: Then divides them, shape (F,); one until `standardise`.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, n_features: int, n_outputs: int, *, hidden: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.n_features, self.n_outputs, self.hidden, self.dropout = n_features, n_outputs, hidden, dropout
        self.register_buffer("center", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        self.fc1 = nn.Linear(n_features, hidden) if hidden else None
        self.out = nn.Linear(hidden or n_features, n_outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (or values, for a regression) of features (B, F); shape (B, n_outputs), float32."""
        x = F.dropout((features.float() - self.center) / self.scale, self.dropout, self.training)
        if self.fc1 is not None:
            x = F.dropout(F.gelu(self.fc1(x)), self.dropout, self.training)
        return self.out(x)  # type: ignore[no-any-return]

    @torch.no_grad()
    def standardise(self, features: Tensor, weights: Tensor | None = None) -> None:
        """Set mean and standard deviation from features (n, F), with weights (n,); a constant feature has scale 1."""
        rows = features.double()
        w = torch.ones(len(rows), dtype=torch.float64) if weights is None else weights.double()
        w = (w / w.sum()).to(rows.device)
        center = w @ rows
        spread = (w @ (rows - center).square()).sqrt()
        floor = 1e-6 * center.abs().clamp_min(1e-6)  # below it, the spread is rounding error
        self.center.copy_(center)
        self.scale.copy_(torch.where(spread > floor, spread, torch.ones_like(spread)))

    @torch.no_grad()
    def rescale(self, *, mean: float, sd: float) -> None:
        """Change outputs to `sd * output + mean`: a head trained on standardised targets then has their unit."""
        self.out.weight.mul_(sd)
        self.out.bias.mul_(sd).add_(mean)
