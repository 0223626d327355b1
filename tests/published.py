"""Weights of the published network by the hash formula of the golden files' README, under the published names."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from findna.nn.device import FP32, Precision
from findna.sizes import ModelConfig

PUBLISHED_ORDER = "ACGNT"
EXACT = {torch.float32: FP32, torch.float64: Precision("fp64", torch.float64, torch.float64)}
"""Precision of weights of that type, of which nothing is rounded away."""


def hash01(n: int, p: int) -> NDArray[np.float64]:
    """H(i, p) of formula B for i = 0 .. n - 1."""
    low = np.uint64(0xFFFFFFFF)
    h = (np.arange(n, dtype=np.uint64) * np.uint64(2654435761) + np.uint64(p * 40503 + 12345)) & low
    h ^= h >> np.uint64(16)
    h = (h * np.uint64(0x85EBCA6B)) & low
    h ^= h >> np.uint64(13)
    h = (h * np.uint64(0xC2B2AE35)) & low
    h ^= h >> np.uint64(16)
    return h / 2**32


def published_shapes(config: ModelConfig, *, blocks: str = "SwanDNA_blocks", mixer: str = "column_transform"):
    """The published names and shapes of all tensors, in the published order."""
    c, h = config.channels, config.hidden
    yield "embedding.weight", (c, 5)
    yield "embedding.bias", (c,)
    for layer in range(config.n_layers):
        for block in range(config.n_blocks):
            stem = f"encoder.{blocks}.{layer}.{blocks}.{block}.{mixer}"
            yield f"{stem}.fc1.weight", (h, c)
            yield f"{stem}.fc1.bias", (h,)
            yield f"{stem}.fc2.weight", (c, h)
            yield f"{stem}.fc2.bias", (c,)
    yield "linear.weight", (5, c)
    yield "linear.bias", (5,)


def formula_b(config: ModelConfig, **names: str) -> dict[str, NDArray[np.float32]]:
    """Formula B's weights by their published names, float32, channels in the published order."""
    weights = {}
    for p, (name, shape) in enumerate(published_shapes(config, **names)):
        u = 2 * hash01(math.prod(shape), p) - 1
        scale = math.sqrt(6 / sum(shape)) if len(shape) == 2 else 0.05
        weights[name] = (scale * u).astype(np.float32).reshape(shape)
    return weights
