"""Scores of labelled sequences: the head on the features of their windows, joined to one row per sequence."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from findna.data.datasets import Corpus
from findna.data.windows import Windows, cut, join
from findna.encode import embed_strands
from findna.models.task import log_scores
from findna.models.task_settings import TaskSettings
from findna.nn.device import Compute
from findna.nn.encoder import Encoder
from findna.nn.heads import Head


@torch.inference_mode()
def join_scores(
    head: Head, strands: Iterable[Tensor], windows: Windows, *, n: int, objective: str
) -> NDArray[np.float64]:
    """Scores of n sequences, shape (n, n_outputs), from features of windows (m, F): the mean over strands.

    See `task.log_scores`.
    """
    was_training, device = head.training, head.out.weight.device
    head.eval()
    found = []
    for features in strands:
        parts = [log_scores(head(part.to(device)), objective).cpu() for part in torch.split(features, 65536)]
        found.append(join(torch.cat(parts).numpy(), windows, n))
    head.train(was_training)
    return np.asarray(np.mean(found, axis=0))


def score(
    network: Encoder,
    head: Head,
    corpus: Corpus,
    *,
    settings: TaskSettings,
    compute: Compute,
    on_done: Callable[[int], None] = lambda n_windows: None,
) -> NDArray[np.float64]:
    """Scores of all sequences of a corpus, shape (n, n_outputs), before calibration. Neither module is changed.

    With strand "both", they are the mean of the two strands.
    """
    windows = cut(corpus.lengths, window=settings.window, stride=settings.stride)
    strands = embed_strands(
        network.for_inference(compute),
        corpus,
        windows,
        strand=settings.strand,
        settings=settings,
        compute=compute,
        on_done=on_done,
    )
    return join_scores(head, strands, windows, n=len(corpus), objective=settings.objective)
