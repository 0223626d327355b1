"""Learning rate and momentum as functions of a run's progress: cosines."""

import math


def cosine(progress: float, start: float, end: float) -> float:
    """From `start` at progress 0 to `end` at 1 along half a cosine.

    >>> cosine(0.0, 1.0, 0.0), cosine(1.0, 1.0, 0.0)
    (1.0, 0.0)
    """
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


def learning_rate(progress: float, *, peak: float, warmup: float) -> float:
    """Linear from 0 to `peak` over the warm-up share of the run, then along a cosine to 0 (section 4.1).

    >>> learning_rate(0.15, peak=2.0, warmup=0.3), learning_rate(0.3, peak=2.0, warmup=0.3)
    (1.0, 2.0)
    """
    if progress < warmup:
        return peak * progress / warmup
    return cosine((progress - warmup) / (1 - warmup) if warmup < 1 else 1.0, peak, 0.0)
