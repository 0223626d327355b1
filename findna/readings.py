"""A network on windows, each computed once: vectors of whole windows, log-probabilities of masked bases."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from findna import phases
from findna.data.batch import pack
from findna.models.task import TaskModel, log_scores
from findna.nn.device import Compute, put
from findna.nn.encoder import Encoder
from findna.nn.pooling import pool_features
from findna.sequence import BLANK, Codes, N

_BASES = N  # codes below N


class Reading(NamedTuple):
    """The read-out of a window.

    Args:
        features: Shape (F,): the vector of a teacher, or the class scores of a task; () for a masked window.
        log_p: Log-probabilities of A, C, G and T at every base (masked window: every masked base); shape (n, 4).
    """

    features: NDArray[np.float32]
    log_p: NDArray[np.float32]


class WindowReader:
    """A network on windows, each computed once; the read-outs of masked and of complete windows differ.

    Args:
        network: The encoder; a copy runs.
        read: From hidden states, rings and the bases of each window [start, end) to features, shape (B, F).
        blocks: Blocks after which the states are read; (): after the last.
        n_class_tokens: Number of class tokens appended to a window.
        with_log_p: Whether to read log-probabilities of complete windows, too.
        compute: Where and how it runs.

    Attributes:
        n_windows: Number of windows computed so far.
    """

    def __init__(
        self,
        network: Encoder,
        read: Callable[[Tensor, NDArray[np.int64], Sequence[tuple[int, int]]], Tensor],
        *,
        blocks: Sequence[int],
        n_class_tokens: int,
        with_log_p: bool,
        compute: Compute,
    ) -> None:
        self._network = network.for_inference(compute)
        self._read, self._blocks = read, network.depths(blocks)
        self._n_class_tokens = n_class_tokens
        self._with_log_p, self._compute = with_log_p, compute
        self.n_windows = 0

    def read(self, windows: Iterable[Codes]) -> dict[bytes, Reading]:
        """The read-outs of windows, by their bytes."""
        return {key: reading for (key, _), reading in self.read_own((codes, 0) for codes in windows).items()}

    def read_own(self, windows: Iterable[tuple[Codes, int]]) -> dict[tuple[bytes, int], Reading]:
        """The same for windows in which only the bases from a position are pooled; by bytes and position."""
        unique = {(codes.tobytes(), own_start): codes for codes, own_start in windows}
        found: dict[tuple[bytes, int], Reading] = {}
        for is_masked in (False, True):
            keys = [key for key, codes in unique.items() if bool((codes == BLANK).any()) == is_masked]
            for batch in self._batches(keys):
                codes = [unique[key] for key in batch]
                own_starts = [own_start for _, own_start in batch]
                readings = self._masked(codes) if is_masked else self._whole(codes, own_starts)
                found.update(zip(batch, readings, strict=True))
                phases.report("computing windows", len(found), len(unique))
        self.n_windows += len(unique)
        return found

    def _batches(self, keys: Sequence[tuple[bytes, int]]) -> Iterator[list[tuple[bytes, int]]]:
        batch: list[tuple[bytes, int]] = []
        n_bases = 0
        for key in keys:
            if batch and n_bases + len(key[0]) > self._compute.batch_bases:
                yield batch
                batch, n_bases = [], 0
            batch.append(key)
            n_bases += len(key[0])
        if batch:
            yield batch

    @torch.inference_mode()
    def _whole(self, windows: Sequence[Codes], own_starts: Sequence[int]) -> list[Reading]:
        last = self._network.config.depth
        depths = tuple(sorted({*self._blocks, last})) if self._with_log_p else self._blocks
        hidden, rings = self._hidden(windows, depths)
        spans = [(start, start + len(codes)) for start, codes in zip(rings[:-1].tolist(), windows, strict=True)]
        own = [(start + own_start, end) for (start, end), own_start in zip(spans, own_starts, strict=True)]
        width = self._network.config.channels
        states = hidden if depths == self._blocks else hidden[:, : width * len(self._blocks)]
        features = self._read(states, rings, own).float().cpu().numpy()
        if not self._with_log_p:
            return [Reading(row, np.empty((0, _BASES), np.float32)) for row in features]
        log_p = self._log_p(hidden[:, -width:])
        return [Reading(row, log_p[start:end]) for row, (start, end) in zip(features, spans, strict=True)]

    @torch.inference_mode()
    def _masked(self, windows: Sequence[Codes]) -> list[Reading]:
        hidden, rings = self._hidden(windows, ())
        places = [np.flatnonzero(codes == BLANK) for codes in windows]
        where = np.concatenate([start + p for start, p in zip(rings[:-1].tolist(), places, strict=True)])
        log_p = self._log_p(hidden[put(where, self._compute.device)])
        ends = list(itertools.accumulate(len(p) for p in places))
        empty = np.empty(0, np.float32)
        return [Reading(empty, log_p[end - len(p) : end]) for end, p in zip(ends, places, strict=True)]

    def _hidden(self, windows: Sequence[Codes], blocks: Sequence[int]) -> tuple[Tensor, NDArray[np.int64]]:
        batch = pack(windows, n_class_tokens=self._n_class_tokens)
        codes = put(batch.codes, self._compute.device)
        return self._network(codes, batch.rings, blocks=blocks, precision=self._compute.precision), batch.rings

    def _log_p(self, hidden: Tensor) -> NDArray[np.float32]:
        logits = self._network.nucleotide_logits(hidden.to(self._network.head.weight.dtype))[:, :_BASES]
        found: NDArray[np.float32] = torch.log_softmax(logits.float(), dim=-1).cpu().numpy()
        return found


def task_reader(task: TaskModel, *, compute: Compute) -> WindowReader:
    """A reader for a task: the features are the class scores, see `log_scores`."""
    settings, head = task.settings, task.head.to(compute.device)

    def read(hidden: Tensor, rings: NDArray[np.int64], own: Sequence[tuple[int, int]]) -> Tensor:
        features = pool_features(hidden, rings, own, pools=settings.pools, n_class_tokens=settings.n_class_tokens)
        return log_scores(head(features), settings.objective)

    return WindowReader(
        task.network,
        read,
        blocks=settings.blocks,
        n_class_tokens=settings.n_class_tokens,
        with_log_p=False,
        compute=compute,
    )
