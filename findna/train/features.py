"""Windows of labelled sequences: how they are cut, packed, embedded, and joined to one row a sequence."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from findna.data.ahead import ahead
from findna.data.batch import Batch, pack
from findna.data.datasets import Corpus
from findna.data.windows import iter_windows
from findna.models.task import TaskSettings, log_scores
from findna.nn.device import Precision, pick_batch_bases, put
from findna.nn.encoder import Encoder
from findna.nn.heads import Head
from findna.nn.pooling import pool_features
from findna.sequence import reverse_complement


class Windows(NamedTuple):
    """All windows of a corpus, in its order; every array has shape (m,), int64.

    Args:
        sequence: Index of the sequence.
        start: First base of the window.
        end: One past its last.
        own_start: First of the bases that no window before it has.
        share: What part of its sequence's bases it owns, float64; a sequence's windows add up to 1.
    """

    sequence: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    own_start: NDArray[np.int64]
    share: NDArray[np.float64]

    @property
    def n(self) -> int:
        """How many there are."""
        return len(self.sequence)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Bases in each."""
        return self.end - self.start


class Work(NamedTuple):
    """A packed batch of windows.

    Args:
        indices: Which windows, in the order of the batch.
        batch: Codes and rings.
        own: Of each, the positions [start, end) of the batch with the bases that it owns.
    """

    indices: NDArray[np.int64]
    batch: Batch
    own: list[tuple[int, int]]


def cut(corpus: Corpus, *, window: int, stride: int) -> Windows:
    """The windows of all sequences."""
    rows = [
        (index, *piece)
        for index, length in enumerate(np.diff(corpus.offsets).tolist())
        for piece in iter_windows(length, size=window, stride=stride)
    ]
    table = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    sequence, start, end, own_start = table
    return Windows(sequence, start, end, own_start, (end - own_start) / np.diff(corpus.offsets)[sequence])


def pack_windows(
    corpus: Corpus,
    windows: Windows,
    indices: NDArray[np.int64],
    *,
    n_class_tokens: int,
    max_bases: int,
    is_turned: NDArray[np.bool_] | None = None,
) -> Iterator[Work]:
    """Yield these windows in packed batches, those of one length side by side, which are rotated together.

    Args:
        corpus: The sequences.
        windows: All their windows.
        indices: Which of them.
        n_class_tokens: Zero rows after each.
        max_bases: Bases in a batch, but for a window that is longer.
        is_turned: Which of all windows are read on the other strand; shape (m,).
    """
    order = indices[np.argsort(windows.lengths[indices], kind="stable")]
    first, n_bases = 0, 0
    for place, length in enumerate(windows.lengths[order].tolist()):
        if place > first and n_bases + length > max_bases:
            yield _pack(corpus, windows, order[first:place], n_class_tokens, is_turned)
            first, n_bases = place, 0
        n_bases += length
    if len(order):
        yield _pack(corpus, windows, order[first:], n_class_tokens, is_turned)


def _pack(
    corpus: Corpus,
    windows: Windows,
    indices: NDArray[np.int64],
    n_class_tokens: int,
    is_turned: NDArray[np.bool_] | None,
) -> Work:
    pieces, own, position = [], [], 0
    for index in indices.tolist():
        start, end = int(windows.start[index]), int(windows.end[index])
        codes = corpus[int(windows.sequence[index])][start:end]
        n_before, n_own = int(windows.own_start[index]) - start, end - int(windows.own_start[index])
        if is_turned is not None and is_turned[index]:
            codes, n_before = reverse_complement(codes), 0
        pieces.append(codes)
        own.append((position + n_before, position + n_before + n_own))
        position += len(codes) + n_class_tokens
    return Work(indices, pack(pieces, n_class_tokens=n_class_tokens), own)


def features_of(
    network: Encoder,
    work: Work,
    settings: TaskSettings,
    *,
    device: torch.device,
    precision: Precision,
    dropout: float = 0.0,
) -> Tensor:
    """The features of a batch's windows, shape (B, F), on the device; differentiable."""
    codes, rings = put(work.batch.codes, device), work.batch.rings
    hidden = network(codes, rings, blocks=settings.blocks, precision=precision, dropout=dropout)
    return pool_features(hidden, rings, work.own, pools=settings.pools, n_class_tokens=settings.n_class_tokens)


@torch.inference_mode()
def embed_windows(
    network: Encoder,
    corpus: Corpus,
    windows: Windows,
    *,
    settings: TaskSettings,
    device: torch.device,
    precision: Precision,
    is_turned: bool = False,
    on_done: Callable[[int], None] = lambda n_windows: None,
) -> Tensor:
    """The features of all windows, shape (m, F), float32, on the CPU; packing runs ahead in a thread.

    Args:
        network: The encoder, on the device.
        corpus: The sequences.
        windows: Their windows.
        settings: Pools and class tokens.
        device: Where it runs.
        precision: Of the matrix products and the residual stream.
        is_turned: Read the other strand.
        on_done: Called after each batch with the number of windows so far.
    """
    turned = np.ones(windows.n, dtype=np.bool_) if is_turned else None
    works = pack_windows(
        corpus,
        windows,
        np.arange(windows.n),
        n_class_tokens=settings.n_class_tokens,
        is_turned=turned,
        max_bases=pick_batch_bases(0, device),
    )
    features: Tensor | None = None
    n_done = 0
    for work in ahead(works):
        part = features_of(network, work, settings, device=device, precision=precision).cpu()
        if features is None:
            features = torch.empty((windows.n, part.shape[1]))
        features[torch.from_numpy(work.indices)] = part
        n_done += len(work.indices)
        on_done(n_done)
    return torch.empty((0, 0)) if features is None else features


def join(values: NDArray[Any], windows: Windows, n: int) -> NDArray[np.float64]:
    """Values of windows (m, k) averaged to one row a sequence (n, k), weighted by the bases that each owns."""
    joined = np.zeros((n, values.shape[1]))
    np.add.at(joined, windows.sequence, values.astype(np.float64) * windows.share[:, None])
    return joined


@torch.inference_mode()
def join_scores(head: Head, features: Tensor, windows: Windows, *, n: int, objective: str) -> NDArray[np.float64]:
    """Scores of n sequences (n, n_outputs) from the features of their windows (m, F): see `task.log_scores`."""
    was_training, device = head.training, head.out.weight.device
    head.eval()
    parts = [log_scores(head(part.to(device)), objective).cpu() for part in torch.split(features, 65536)]
    head.train(was_training)
    return join(torch.cat(parts).numpy(), windows, n)


def score(
    network: Encoder,
    head: Head,
    corpus: Corpus,
    *,
    settings: TaskSettings,
    device: torch.device,
    precision: Precision,
    on_done: Callable[[int], None] = lambda n_windows: None,
) -> NDArray[np.float64]:
    """Scores of all sequences of a corpus, shape (n, n_outputs), before calibration. Neither module is changed.

    They are the mean of the two strands' where the settings say so.
    """
    windows = cut(corpus, window=settings.window, stride=settings.stride)
    encoder = network.for_inference(device=device, precision=precision)
    strands = []
    for is_turned in strands_of(settings.strand):
        features = embed_windows(
            encoder,
            corpus,
            windows,
            settings=settings,
            device=device,
            precision=precision,
            is_turned=is_turned,
            on_done=on_done,
        )
        strands.append(join_scores(head, features, windows, n=len(corpus), objective=settings.objective))
    return np.asarray(np.mean(strands, axis=0))


def strands_of(strand: str) -> tuple[bool, ...]:
    """Of each strand that an answer is made of, whether it is the other one."""
    return (False, True) if strand == "both" else (False,)


def is_joined(windows: Windows, n: int) -> NDArray[np.bool_]:
    """Which of n sequences have more than one window; shape (n,)."""
    return np.asarray(np.bincount(windows.sequence, minlength=n) > 1)
