"""In-silico saturation mutagenesis: the effect of every base at every position; dependencies between positions."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from findna import phases
from findna.data.windows import Window, iter_windows
from findna.effect_values import OF_A_MODEL, of_a_task
from findna.errors import ConfigError
from findna.judges import log_odds
from findna.models.store import Model
from findna.models.task import TaskModel, probabilities
from findna.nn.device import Compute
from findna.readings import WindowReader, task_reader
from findna.sequence import BASES, BLANK, Codes, N, reverse_complement

_CHUNK = 64
"""Number of positions whose windows are computed together."""


class BaseMutagenesis:
    """A teacher on its device: the log-probability of each base minus that of the masked reference base.

    Both strands are averaged.

    Args:
        model: The teacher.
        compute: Where and how it runs.
    """

    value, unit = OF_A_MODEL

    def __init__(self, model: Model, *, compute: Compute) -> None:
        self.window = model.config.window
        self._reader = WindowReader(
            model.network,
            lambda hidden, rings, own: hidden[torch.from_numpy(rings[:-1]).to(hidden.device)],
            blocks=(),
            n_class_tokens=model.config.n_class_tokens,
            with_log_p=True,
            compute=compute,
        )

    @property
    def n_windows(self) -> int:
        """Windows computed so far."""
        return self._reader.n_windows

    def effects(self, codes: Codes) -> NDArray[np.float32]:
        """The effect of each base at each position, shape (L, 4); 0 for the reference base, NaN if that is N."""
        forward, reverse = map(self._effects, phases.track("strands", (codes, reverse_complement(codes))))
        found: NDArray[np.float32] = ((forward + reverse[::-1, ::-1]) / 2).astype(np.float32)
        found[codes >= N] = np.nan
        return found

    def _effects(self, codes: Codes) -> NDArray[np.float64]:
        found = np.zeros((len(codes), len(BASES)))
        windows = iter_windows(len(codes), size=self.window, stride=self.window)
        parts = [(window, places) for window in windows for places in _chunks(range(window.own_start, window.end))]
        for (start, end, _), places in phases.track("positions", parts):
            masked = {place: _changed(codes[start:end], place - start, BLANK) for place in places}
            readings = self._reader.read(masked.values())
            for place, window in masked.items():
                log_p = readings[window.tobytes()].log_p[0].astype(np.float64)
                found[place] = log_p - log_p[min(codes[place], N - 1)]
        return found

    def dependencies(self, codes: Codes) -> NDArray[np.float32]:
        """How much a change at position i changes the prediction at position j, shape (L, L): row i, column j.

        The largest change of the log-odds of any base at j, over the three changes at i; no base is masked. 0 on the
        diagonal, NaN in the row of an N.

        Raises:
            ConfigError: The sequence is longer than a window.
        """
        if len(codes) > self.window:
            raise ConfigError(f"dependencies of {len(codes):,} bases do not fit a window of {self.window:,} bases")
        forward, reverse = map(self._dependencies, phases.track("strands", (codes, reverse_complement(codes))))
        found: NDArray[np.float32] = ((forward + reverse[::-1, ::-1]) / 2).astype(np.float32)
        found[codes >= N] = np.nan
        return found

    def _dependencies(self, codes: Codes) -> NDArray[np.float64]:
        found = np.zeros((len(codes), len(codes)))
        before = self._log_odds([codes])[0]
        for places in phases.track("pairs", _chunks(range(len(codes)))):
            changes = [(place, base) for place in places for base in range(N) if base != codes[place]]
            after = self._log_odds([_changed(codes, place, base) for place, base in changes])
            for (place, _), odds in zip(changes, after, strict=True):
                np.maximum(found[place], np.abs(odds - before).max(axis=1), out=found[place])
        np.fill_diagonal(found, 0)
        return found

    def _log_odds(self, windows: Sequence[Codes]) -> list[NDArray[np.float64]]:
        readings = self._reader.read(windows)
        return [log_odds(np.exp(readings[window.tobytes()].log_p.astype(np.float64))) for window in windows]


class TaskMutagenesis:
    """A task model on its device: the log-odds of a class (regression: the value) minus those of the reference.

    Args:
        task: The task model.
        label: The class; "": the second of two, or the only one.
        compute: Where and how it runs.

    Raises:
        ConfigError: The task has no such class, or more than two and none is named.
    """

    def __init__(self, task: TaskModel, *, label: str = "", compute: Compute) -> None:
        self.settings = settings = task.settings
        is_regression = settings.objective == "regression"
        self._column = 0 if is_regression else settings.classes.index(task.class_of(label))
        self.value, self.unit = of_a_task(settings, label, task=task.name)
        self.window = settings.window
        self._reader = task_reader(task, compute=compute)

    @property
    def n_windows(self) -> int:
        """Windows computed so far."""
        return self._reader.n_windows

    def effects(self, codes: Codes) -> NDArray[np.float32]:
        """As for a teacher; the scores of both strands are averaged before they become log-odds."""
        forward, reverse = map(self._scores, phases.track("strands", (codes, reverse_complement(codes))))
        scores = np.mean([forward, reverse[::-1, ::-1]], axis=0)  # (L, 4, outputs)
        is_joined = len(codes) > self.window
        flat = probabilities(scores.reshape(-1, scores.shape[-1]), self.settings, is_joined)[:, self._column]
        values = flat if self.settings.objective == "regression" else log_odds(flat)
        values = values.reshape(scores.shape[:2])
        there = values[np.arange(len(codes)), np.minimum(codes, N - 1)]
        found: NDArray[np.float32] = (values - there[:, None]).astype(np.float32)
        found[codes >= N] = np.nan
        return found

    def _scores(self, codes: Codes) -> NDArray[np.float64]:
        """The scores of the sequence with each base at each position, shape (L, 4, outputs).

        Only the windows with the changed position are computed again.
        """
        windows = list(iter_windows(len(codes), size=self.settings.window, stride=self.settings.stride))
        parts = self._of_windows([(codes, window) for window in windows])
        whole = sum(parts)
        found = np.empty((len(codes), len(BASES), self.settings.n_outputs))
        for places in phases.track("positions", _chunks(range(len(codes)))):
            jobs = [
                (place, base, index)
                for place in places
                for base in range(N)
                for index, window in enumerate(windows)
                if base != codes[place] and window.start <= place < window.end
            ]
            found[places.start : places.stop] = whole
            after = self._of_windows([(_changed(codes, place, base), windows[index]) for place, base, index in jobs])
            for (place, base, index), part in zip(jobs, after, strict=True):
                found[place, base] += part - parts[index]
        return found

    def _of_windows(self, windows: Sequence[tuple[Codes, Window]]) -> list[NDArray[np.float64]]:
        """The contribution of each window to the mean over its sequence: its scores times its fraction of the bases."""
        keys = [(codes[w.start : w.end], w.own_start - w.start) for codes, w in windows]
        readings = self._reader.read_own(keys)
        return [
            readings[part.tobytes(), own_start].features.astype(np.float64) * (len(part) - own_start) / len(codes)
            for (codes, _), (part, own_start) in zip(windows, keys, strict=True)
        ]


Mutagenesis = BaseMutagenesis | TaskMutagenesis


def _changed(codes: Codes, place: int, base: int) -> Codes:
    changed = codes.copy()
    changed[place] = base
    return changed


def _chunks(places: range) -> list[range]:
    return [places[first : first + _CHUNK] for first in range(0, len(places), _CHUNK)]
