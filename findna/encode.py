"""From sequences to features: windows, packed batches, network, pooling. All commands use this code.

`findna.stream` uses it for records, in input order. `embed_windows` and `features_of` read the windows of a corpus in
memory, in any order, and with gradients for training.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from findna.data.ahead import ahead
from findna.data.batch import Batch, pack
from findna.data.datasets import Corpus
from findna.data.windows import Windows
from findna.nn.device import Compute, put
from findna.nn.encoder import Encoder
from findna.nn.pooling import pool_features
from findna.sequence import Codes, reverse_complement

Spans = Sequence[tuple[int, int]]
One = TypeVar("One")


class Piece(NamedTuple):
    """A window, on the strand to read.

    Args:
        codes: Its bases, shape (n,).
        own_start: First of the bases that it owns, counted in the window.
        own_end: End of these bases.
    """

    codes: Codes
    own_start: int
    own_end: int


class Packed(NamedTuple):
    """Windows in one batch.

    Args:
        batch: Codes and rings.
        own: For each window, the positions [start, end) in the batch of the bases that it owns.
    """

    batch: Batch
    own: Spans


def pack_pieces(pieces: Sequence[Piece], *, n_class_tokens: int) -> Packed:
    """The batch of these windows, in order, each with its class tokens."""
    batch = pack([piece.codes for piece in pieces], n_class_tokens=n_class_tokens)
    starts = batch.rings[:-1].tolist()
    own = [(start + one.own_start, start + one.own_end) for start, one in zip(starts, pieces, strict=True)]
    return Packed(batch, own)


def in_batches(items: Iterable[One], *, n_bases: Callable[[One], int], most: int) -> Iterator[list[One]]:
    """Yield lists of items, in order, of at most this many bases; a longer item is alone in its list."""
    batch: list[One] = []
    total = 0
    for item in items:
        n = n_bases(item)
        if batch and total + n > most:
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += n
    if batch:
        yield batch


def hidden_of(
    network: Encoder, batch: Batch, *, blocks: Sequence[int], compute: Compute, dropout: float = 0.0
) -> Tensor:
    """Hidden states of a batch, shape (positions, C), on the device, differentiable; blocks are concatenated."""
    codes = put(batch.codes, compute.device)
    hidden: Tensor = network(codes, batch.rings, blocks=blocks, precision=compute.precision, dropout=dropout)
    return hidden


class Settings(Protocol):
    """The read-out of a window: `findna.models.task.TaskSettings` is one."""

    @property
    def pools(self) -> Sequence[str]:
        """Names of `findna.nn.pooling.POOLINGS`."""

    @property
    def blocks(self) -> Sequence[int]:
        """Blocks after which to read; (): after the last."""

    @property
    def n_class_tokens(self) -> int:
        """Number of zero rows after each window."""


class Readings(NamedTuple):
    """A plain implementation of `Settings`."""

    pools: Sequence[str]
    blocks: Sequence[int]
    n_class_tokens: int


class Work(NamedTuple):
    """Windows of a corpus in one batch.

    Args:
        indices: Indices of the windows, in the order of the batch.
        batch: Codes and rings.
        own: For each window, the positions [start, end) in the batch of the bases that it owns.
    """

    indices: NDArray[np.int64]
    batch: Batch
    own: Spans


def pack_windows(
    corpus: Corpus,
    windows: Windows,
    indices: NDArray[np.int64],
    *,
    n_class_tokens: int,
    max_bases: int,
    is_turned: NDArray[np.bool_] | None = None,
) -> Iterator[Work]:
    """Yield these windows in packed batches; windows of one length are adjacent, so they are rotated together.

    Args:
        corpus: The sequences.
        windows: All their windows.
        indices: Indices of the windows to read.
        n_class_tokens: Number of zero rows after each.
        max_bases: Bases per batch; a longer window is alone in its batch.
        is_turned: Whether each window is read on the other strand; shape (m,).
    """
    lengths = windows.lengths
    order = indices[np.argsort(lengths[indices], kind="stable")]
    for batch in in_batches(order.tolist(), n_bases=lambda index: int(lengths[index]), most=max_bases):
        pieces = [_piece_of(corpus, windows, index, is_turned) for index in batch]
        yield Work(np.array(batch, dtype=np.int64), *pack_pieces(pieces, n_class_tokens=n_class_tokens))


def _piece_of(corpus: Corpus, windows: Windows, index: int, is_turned: NDArray[np.bool_] | None) -> Piece:
    """A window; on the other strand, the one at the same distance from that strand's first base."""
    start, end = int(windows.start[index]), int(windows.end[index])
    codes, n_before = corpus[int(windows.sequence[index])], int(windows.own_start[index]) - start
    if is_turned is not None and is_turned[index]:
        return Piece(reverse_complement(codes[len(codes) - end : len(codes) - start]), n_before, end - start)
    return Piece(codes[start:end], n_before, end - start)


def features_of(network: Encoder, work: Work, settings: Settings, *, compute: Compute, dropout: float = 0.0) -> Tensor:
    """The features of a batch's windows, shape (B, F), on the device; differentiable."""
    hidden = hidden_of(network, work.batch, blocks=settings.blocks, compute=compute, dropout=dropout)
    return pool_features(
        hidden, work.batch.rings, work.own, pools=settings.pools, n_class_tokens=settings.n_class_tokens
    )


@torch.inference_mode()
def embed_windows(
    network: Encoder,
    corpus: Corpus,
    windows: Windows,
    *,
    settings: Settings,
    compute: Compute,
    is_turned: bool = False,
    on_done: Callable[[int], None] = lambda n_windows: None,
) -> Tensor:
    """The features of all windows, shape (m, F), float32, on the CPU; a thread packs in advance.

    Args:
        network: The encoder, on the device.
        corpus: The sequences.
        windows: Their windows.
        settings: Pools, blocks and class tokens.
        compute: Where and how it runs.
        is_turned: Whether to read the other strand.
        on_done: Called after each batch with the number of windows so far.
    """
    turned = np.ones(windows.n, dtype=np.bool_) if is_turned else None
    works = pack_windows(
        corpus,
        windows,
        np.arange(windows.n),
        n_class_tokens=settings.n_class_tokens,
        is_turned=turned,
        max_bases=compute.batch_bases,
    )
    features: Tensor | None = None
    n_done = 0
    for work in ahead(works):
        part = features_of(network, work, settings, compute=compute).cpu()
        if features is None:
            features = torch.empty((windows.n, part.shape[1]))
        features[torch.from_numpy(work.indices)] = part
        n_done += len(work.indices)
        on_done(n_done)
    return torch.empty((0, 0)) if features is None else features


def strands_of(strand: str) -> tuple[bool, ...]:
    """For each strand that a prediction uses, whether it is the other one."""
    return (False, True) if strand == "both" else (False,)


def embed_strands(
    network: Encoder,
    corpus: Corpus,
    windows: Windows,
    *,
    strand: str,
    settings: Settings,
    compute: Compute,
    on_done: Callable[[int], None] = lambda n_windows: None,
) -> list[Tensor]:
    """`embed_windows` of the given strand and, if `strand` is "both", of the other one."""
    return [
        embed_windows(
            network, corpus, windows, settings=settings, compute=compute, is_turned=is_turned, on_done=on_done
        )
        for is_turned in strands_of(strand)
    ]
