"""The optimizers of a pretraining, and the effective rank of the class tokens."""

from typing import Any

import torch
from torch import Tensor, nn

from findna.recipes import PretrainConfig


def make_optimizers(config: PretrainConfig, student: nn.Module) -> list[torch.optim.Optimizer]:
    """AdamW, or Muon for the matrices of the blocks and AdamW for the rest. All moments exist and are zero.

    Steps of Muon are scaled as those of AdamW (Liu et al. 2025, arXiv:2502.16982), so both use one rate.
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
    """Exp of the entropy of the normalised singular values of centred class tokens (B, K, C), mean over K.

    The effective rank of Roy and Vetterli 2007 (EUSIPCO) over the batch, for each class token.
    """
    centred = (tokens - tokens.mean(dim=0)).float().cpu().permute(1, 0, 2)  # (K, B, C)
    values = torch.linalg.svdvals(centred)
    shares = values / values.sum(dim=1, keepdim=True).clamp_min(1e-30)
    return float(torch.special.entr(shares).sum(dim=1).exp().mean())
