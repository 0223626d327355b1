"""Masked bases: the probabilities of A, C, G and T that a network predicts for bases that it does not see."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from findna import phases
from findna.data.windows import iter_windows
from findna.errors import ConfigError
from findna.nn.device import Compute
from findna.nn.encoder import Encoder
from findna.record import Record
from findna.sequence import BASES, BLANK, Codes
from findna.stream import Forward, Readout


class MaskedBases:
    """A network on its device that predicts masked bases.

    Args:
        network: The encoder; it is not changed.
        passes: Number of passes over each window; pass p masks the bases with index p modulo `passes` in the
            sequence. 0 masks one base at a time, with as many passes as bases.
        compute: Where and how it runs; probabilities are float32.

    Raises:
        ConfigError: `passes` is negative.
    """

    def __init__(self, network: Encoder, *, passes: int, compute: Compute) -> None:
        if passes < 0:
            raise ConfigError(f"passes must be 0 or more, not {passes}")
        self._passes, self._window = passes, network.config.window
        self._forward = Forward(
            network,
            Readout((), lambda hidden, rings, own: ()),
            window=self._window,
            stride=self._window,
            both_strands=False,
            n_class_tokens=network.config.n_class_tokens,
            compute=compute,
        )
        self._waiting: deque[_Masked] = deque()

    def predict(self, sequences: Sequence[Codes]) -> Iterator[NDArray[np.float32]]:
        """Yield the probabilities of A, C, G and T at each base of each sequence, shape (L, 4); rows add up to 1.

        A sequence longer than the network's window is split as for embeddings; each base is predicted in the window
        that owns it.
        """
        unfinished: deque[NDArray[np.float32]] = deque()
        for passed in self._forward.run(self._records(sequences, unfinished), with_states=True):
            if passed.states:
                n_done = self._take(passed.states)
                phases.report("predicting bases", n_done, len(sequences))
            for name in passed.obs.get("name", ()):
                if name == _LAST:
                    yield unfinished.popleft()

    def _records(self, sequences: Sequence[Codes], unfinished: "deque[NDArray[np.float32]]") -> Iterator[Record]:
        """A record for each window and pass, and in the same order the bases to read from it."""
        for row, codes in enumerate(sequences):
            found = np.empty((len(codes), len(BASES)), np.float32)
            unfinished.append(found)
            for start, end, own_start in iter_windows(len(codes), size=self._window, stride=self._window):
                own = np.arange(own_start, end)
                n_passes = self._passes or len(own)
                n_used = min(n_passes, len(own))
                for first in range(n_used):
                    places = own[(own_start + first) % n_passes == own % n_passes]
                    masked = codes[start:end].copy()
                    masked[places - start] = BLANK
                    n_done = row + (own_start + len(own) * (first + 1) / n_used) / len(codes)
                    self._waiting.append(_Masked(found, places, start, n_done))
                    is_last = end == len(codes) and first == n_used - 1
                    yield Record(str(row), masked, 0, row, "", name=_LAST if is_last else "")

    @torch.inference_mode()
    def _take(self, own: list[Tensor]) -> float:
        """Predict the masked bases of a batch's windows from their hidden states; returns the sequences done so far."""
        network = self._forward.network
        parts = [self._waiting.popleft() for _ in own]
        states = [hidden[torch.from_numpy(part.places - part.start)] for hidden, part in zip(own, parts, strict=True)]
        logits = network.nucleotide_logits(torch.cat(states).to(network.head.weight.dtype))[:, : len(BASES)]
        values = torch.softmax(logits.float(), dim=1).cpu().numpy()
        for part, rows in zip(
            parts, np.split(values, np.cumsum([len(part.places) for part in parts])[:-1]), strict=True
        ):
            part.found[part.places] = rows
        return parts[-1].n_done


_LAST = "last"


@dataclass(frozen=True)
class _Masked:
    found: NDArray[np.float32]
    places: NDArray[np.int64]
    start: int
    n_done: float
