"""Scores of the two alleles of a variant, by a teacher or by a task model."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from findna.alleles import Allele, Pair, likelihood_terms
from findna.config import SCORES, EmbedConfig, ScoreConfig
from findna.io.scores import Field, Outcome, Vectors
from findna.models.store import Model
from findna.models.task import TaskModel, probabilities
from findna.nn.device import Compute
from findna.nn.pooling import pool_features
from findna.readings import Reading, WindowReader, task_reader
from findna.sequence import Codes, N

_LEAST_P = 1e-12

_FIELDS = {
    "llr": [Field("llr", "Log-likelihood of ALT minus that of REF, masked bases, nats, mean of both strands")],
    "distance": [
        Field("cosine", "Cosine distance between the vectors of the REF and the ALT window"),
        Field("euclidean", "Euclidean distance between the vectors of the REF and the ALT window"),
    ],
    "influence": [
        Field("influence", "Sum over the rest of the window of the change of the base probabilities (total variation)")
    ],
}


class Judge(ABC):
    """The windows that a kind of model needs for a pair, and their scores."""

    fields: Sequence[Field]
    window: int

    @abstractmethod
    def reader(self, compute: Compute) -> WindowReader:
        """The reader that computes the windows."""

    @abstractmethod
    def windows(self, pair: Pair) -> Iterator[Codes]:
        """The windows of a pair."""

    @abstractmethod
    def outcome(self, pairs: Sequence[Pair], readings: Mapping[bytes, Reading]) -> Outcome:
        """The scores in the order of `fields`, both strands averaged."""


class TeacherJudge(Judge):
    def __init__(self, model: Model, config: ScoreConfig, *, with_vectors: bool) -> None:
        self.scores, self._with_vectors = config.scores, with_vectors
        self.fields = [field for score in SCORES if score in config.scores for field in _FIELDS[score]]
        self.window = model.config.window
        self._model = model
        self._readout = model.readout.embed_config(EmbedConfig(), model.config)

    def reader(self, compute: Compute) -> WindowReader:
        n_class_tokens = self._model.config.n_class_tokens

        def read(hidden: Tensor, rings: NDArray[np.int64], own: Sequence[tuple[int, int]]) -> Tensor:
            return pool_features(hidden, rings, own, pools=self._readout.pools, n_class_tokens=n_class_tokens)

        return WindowReader(
            self._model.network,
            read,
            blocks=self._readout.depths(self._model.config),
            n_class_tokens=n_class_tokens,
            with_log_p="influence" in self.scores,
            compute=compute,
        )

    def windows(self, pair: Pair) -> Iterator[Codes]:
        if "llr" in self.scores:
            yield from (term.window for term in likelihood_terms(pair))
        if "distance" in self.scores or "influence" in self.scores or self._with_vectors:
            yield from (pair.ref.codes, pair.alt.codes)

    def outcome(self, pairs: Sequence[Pair], readings: Mapping[bytes, Reading]) -> Outcome:
        values: list[float] = []
        if "llr" in self.scores:
            values.append(float(np.mean([log_likelihood_ratio(pair, readings) for pair in pairs])))
        if "distance" in self.scores:
            ref, alt = (self._vector([pair[side] for pair in pairs], readings) for side in (0, 1))
            norms = max(float(np.linalg.norm(ref) * np.linalg.norm(alt)), _LEAST_P)
            values += [1 - float(ref @ alt) / norms, float(np.linalg.norm(ref - alt))]
        if "influence" in self.scores:
            values.append(float(np.mean([influence(pair, readings) for pair in pairs])))
        return Outcome(values, vectors=self._vectors(pairs, readings) if self._with_vectors else None)

    def _vectors(self, pairs: Sequence[Pair], readings: Mapping[bytes, Reading]) -> Vectors:
        x = np.array([self._vector([pair[side] for pair in pairs], readings) for side in (0, 1)], np.float32)
        ref, alt = (float((allele.codes >= N).mean()) for allele in pairs[0])
        return Vectors(x, len(pairs[0].ref.codes), (ref, alt))

    def _vector(self, alleles: Sequence[Allele], readings: Mapping[bytes, Reading]) -> NDArray[np.float64]:
        """The mean of both strands, standardised like the model's own read-out."""
        strands = np.array([readings[allele.codes.tobytes()].features for allele in alleles])
        if not self._readout.raw:
            strands = self._model.readout.standardise(strands)
        vector: NDArray[np.float64] = np.mean(strands, axis=0, dtype=np.float64)
        return vector


class TaskJudge(Judge):
    def __init__(self, task: TaskModel) -> None:
        self._task = task
        self.settings = settings = task.settings
        self.window = settings.window
        if settings.objective == "regression":
            self.fields = [Field("delta", "Prediction for ALT minus that for REF, both strands averaged")]
        else:
            self.fields = [
                Field(f"{name}_{label}", f"{what} of {label} for ALT minus that for REF, both strands averaged")
                for label in settings.classes
                for name, what in (("dp", "Probability"), ("dlogit", "Log-odds"))
            ]

    def reader(self, compute: Compute) -> WindowReader:
        return task_reader(self._task, compute=compute)

    def windows(self, pair: Pair) -> Iterator[Codes]:
        yield from (pair.ref.codes, pair.alt.codes)

    def outcome(self, pairs: Sequence[Pair], readings: Mapping[bytes, Reading]) -> Outcome:
        scores = [[readings[pair[side].codes.tobytes()].features for pair in pairs] for side in (0, 1)]
        answers = probabilities(np.mean(scores, axis=1), self.settings, is_joined=False)
        delta = answers[1] - answers[0]
        if self.settings.objective == "regression":
            return Outcome([float(delta[0])])
        ref, alt = log_odds(answers)
        return Outcome(np.stack([delta, alt - ref], axis=1).ravel().tolist())


def log_odds(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The log-odds of probabilities, which may be 0 or 1.

    >>> log_odds(np.array([0.5])).tolist()
    [0.0]
    """
    return np.log(np.maximum(p, _LEAST_P)) - np.log(np.maximum(1 - p, _LEAST_P))


def log_likelihood_ratio(pair: Pair, readings: Mapping[bytes, Reading]) -> float:
    """Log-likelihood of ALT minus that of REF on one strand, in nats; see `findna.alleles.likelihood_terms`."""
    return sum(
        term.sign * float(readings[term.window.tobytes()].log_p[term.places, term.bases].sum(dtype=np.float64))
        for term in likelihood_terms(pair)
    )


def influence(pair: Pair, readings: Mapping[bytes, Reading]) -> float:
    """Total variation between the base probabilities of the two windows, summed over their common flanks."""
    ref, alt = (np.exp(readings[allele.codes.tobytes()].log_p) for allele in pair)
    before = min(pair.ref.start, pair.alt.start)
    ref_end, alt_end = (allele.start + allele.length for allele in pair)
    after = min(len(ref) - ref_end, len(alt) - alt_end)
    left = ref[pair.ref.start - before : pair.ref.start] - alt[pair.alt.start - before : pair.alt.start]
    right = ref[ref_end : ref_end + after] - alt[alt_end : alt_end + after]
    return float(np.abs(left).sum(dtype=np.float64) + np.abs(right).sum(dtype=np.float64)) / 2
