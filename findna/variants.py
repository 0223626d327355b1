"""Effects of variants: what a network says of both alleles in their windows, and of the difference."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from findna.alleles import SPAN, Allele, Pair, likelihood_terms, pair_alleles
from findna.config import SCORES, EmbedConfig, ScoreConfig
from findna.errors import ConfigError, VariantError
from findna.io.genome import Genome
from findna.io.scores import Field, Outcome, Vectors
from findna.io.vcf import Site
from findna.models.store import Model
from findna.models.task import TaskModel, probabilities
from findna.nn.device import Compute
from findna.nn.pooling import pool_features
from findna.readings import Reading, WindowReader, task_reader
from findna.region import Region
from findna.sequence import Codes, N, decode, encode

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


class Scored(NamedTuple):
    """The outcome of a record.

    Args:
        outcomes: One per ALT in their order; of a record without ALT a single one that says so.
        fault: Why the record does not fit the genome; its outcomes hold the reason as one word.
    """

    outcomes: list[Outcome]
    fault: VariantError | None = None


class VariantScorer:
    """A teacher or a task model on its device, with what is computed of a variant.

    Args:
        model: Of a teacher: log-likelihood ratio, distances and influence. Of a task model: the change of its answer.
        genome: The genome of the variants, open.
        config: What is computed.
        source: What to call the file of the variants in a message.
        with_vectors: Whether outcomes have the vectors of both alleles; only of a teacher.
        compute: Where and how it runs; the rest is float32.

    Attributes:
        fields: The scores of each ALT, in their order.
        window: Bases in a window.
        reader: What computes the windows.

    Raises:
        ConfigError: The window is too small for the longest allele, or longer than the model's.
    """

    def __init__(
        self,
        model: Model | TaskModel,
        genome: Genome,
        config: ScoreConfig,
        *,
        source: str = "",
        with_vectors: bool = False,
        compute: Compute,
    ) -> None:
        self.genome, self.config, self._source = genome, config, source
        self._said: _Said = (
            _TaskSaid(model) if isinstance(model, TaskModel) else _TeacherSaid(model, config, with_vectors=with_vectors)
        )
        self.fields = self._said.fields
        self.window = config.window or self._said.window
        if self.window > self._said.window:
            raise ConfigError(f"a window of {self.window} bases is longer than the model's {self._said.window}")
        if self.window < (least := 2 * (config.max_length + SPAN)):
            raise ConfigError(
                f"alleles of up to {config.max_length} bases need a window of at least {least} bases, "
                f"not {self.window}: lower the longest allele"
            )
        self.reader = self._said.reader(compute)

    def score(self, sites: Sequence[Site]) -> list[Scored]:
        """The outcome of each record, in order.

        Args:
            sites: Records that are scored together, about `CHUNK` of them.
        """
        scored, jobs = self._prepared(sites)
        wanted = (codes for job in jobs for pair in job.pairs for codes in self._said.windows(pair))
        readings = self.reader.read(wanted)
        for job in jobs:
            scored[job.site].outcomes[job.alt] = self._said.outcome(job.pairs, readings)
        return scored

    def _prepared(self, sites: Sequence[Site]) -> tuple[list[Scored], list["_Job"]]:
        """Why ALTs have no score, as far as that is known, and the windows of the others."""
        scored: list[Scored] = []
        jobs = []
        for number, (site, flanks) in enumerate(zip(sites, self._flanks(sites), strict=True)):
            if isinstance(flanks, _Misfit):
                scored.append(Scored([Outcome(None, flanks.word) for _ in site.alts or "."], flanks.error))
                continue
            n_beside = len(flanks.left) + len(flanks.right)
            reasons = [self._why_skipped(site.ref, alt, n_beside) for alt in site.alts]
            scored.append(Scored([Outcome(None, reason) for reason in reasons or ["no_alt"]]))
            for index, (alt, reason) in enumerate(zip(site.alts, reasons, strict=True)):
                if not reason:
                    ref_codes, alt_codes = _codes(site.ref), _codes(alt)
                    pairs = pair_alleles(flanks.left, ref_codes, alt_codes, flanks.right, size=self.window)
                    jobs.append(_Job(number, index, pairs))
        return scored, jobs

    def _why_skipped(self, ref: str, alt: str, n_beside: int) -> str:
        if reason := why_skipped(ref, alt, max_length=self.config.max_length):
            return reason
        shorter, longer = sorted((len(ref), len(alt)))
        return "contig_too_short" if n_beside + shorter < longer else ""

    def _flanks(self, sites: Sequence[Site]) -> list["_Flanks | _Misfit"]:
        """The bases beside each REF, or why the record does not fit the genome."""
        found: list[_Flanks | _Misfit | None] = [self._misplaced(site) for site in sites]
        placed = [number for number, misfit in enumerate(found) if misfit is None]
        regions = [self._region(sites[number]) for number in placed]
        others = []
        for number, region, (codes, _) in zip(placed, regions, self.genome.fetch_many(regions), strict=True):
            site = sites[number]
            begin = site.start - region.start
            end = begin + len(site.ref)
            found[number] = _Flanks(codes[:begin], codes[end:])
            if is_bases(site.ref) and _codes(site.ref).tobytes() != codes[begin:end].tobytes():
                others.append((number, decode(codes[begin:end])))
        for number, there in others:
            found[number] = self._mismatch(sites[number], there, n_bad=len(others), n_all=len(placed))
        return [each for each in found if each is not None]

    def _region(self, site: Site) -> Region:
        end = site.start + len(site.ref)
        length = self.genome.contigs[site.chrom]
        return Region(site.chrom, max(0, site.start - self.window), min(length, end + self.window))

    def _misplaced(self, site: Site) -> "_Misfit | None":
        if site.start < 0:
            return self._misfit(site, "POS 0 is before the first base", "out_of_range")
        reason = self.genome.check(Region(site.chrom, site.start, site.start + len(site.ref)))
        if reason is None:
            return None
        return self._misfit(site, reason, "out_of_range" if site.chrom in self.genome.contigs else "contig_not_found")

    def _mismatch(self, site: Site, there: str, *, n_bad: int, n_all: int) -> "_Misfit":
        others = f" ({n_bad:,} of {n_all:,} records around it do not match)" if n_bad > 1 else ""
        reason = f"REF is {_brief(site.ref)}, but {self.genome.path.name} has {_brief(there)} there{others}"
        return self._misfit(site, f"{reason}; are the variants on another assembly?", "ref_mismatch")

    def _misfit(self, site: Site, reason: str, word: str) -> "_Misfit":
        error = VariantError(reason, path=self._source or None, line=site.line, record=str(site), row=site.row)
        return _Misfit(error, word)


class _Job(NamedTuple):
    """The windows of an ALT, by its record's and its own index."""

    site: int
    alt: int
    pairs: tuple[Pair, Pair]


class _Flanks(NamedTuple):
    left: Codes
    right: Codes


class _Misfit(NamedTuple):
    error: VariantError
    word: str


def why_skipped(ref: str, alt: str, *, max_length: int) -> str:
    """Why an ALT gets no score, "" where it does; one word, as INFO of a VCF takes it.

    >>> why_skipped("A", "<DEL>", max_length=50), why_skipped("A", "c", max_length=50)
    ('symbolic', '')
    """
    if not alt or alt == ".":
        return "no_alt"
    if alt == "*":
        return "spanning_deletion"
    if alt.startswith("<"):
        return "symbolic"
    if set(alt) & set("[]."):
        return "breakend"
    if max(len(ref), len(alt)) > max_length:
        return "too_long"
    if not is_bases(ref) or not is_bases(alt):
        return "not_acgt"
    return "same_as_ref" if ref.upper() == alt.upper() else ""


@lru_cache(1 << 12)
def _codes(allele: str) -> Codes:
    return encode(allele)[0]


def is_bases(text: str) -> bool:
    """Whether an allele is made of A, C, G and T alone, in either case."""
    return bool(text) and not text.upper().strip("ACGT")


def _brief(text: str) -> str:
    return text if len(text) <= 20 else f"{text[:17]}..."


class _Said(ABC):
    """Which windows of a pair a kind of model is asked for, and how what is read of them becomes scores."""

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


class _TeacherSaid(_Said):
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
        """The mean of both strands, standardised as the model's own read-out is."""
        strands = np.array([readings[allele.codes.tobytes()].features for allele in alleles])
        if not self._readout.raw:
            strands = self._model.readout.standardise(strands)
        vector: NDArray[np.float64] = np.mean(strands, axis=0, dtype=np.float64)
        return vector


class _TaskSaid(_Said):
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
    """Total variation between the base probabilities of both windows, summed over the flanks that both have."""
    ref, alt = (np.exp(readings[allele.codes.tobytes()].log_p) for allele in pair)
    before = min(pair.ref.start, pair.alt.start)
    ref_end, alt_end = (allele.start + allele.length for allele in pair)
    after = min(len(ref) - ref_end, len(alt) - alt_end)
    left = ref[pair.ref.start - before : pair.ref.start] - alt[pair.alt.start - before : pair.alt.start]
    right = ref[ref_end : ref_end + after] - alt[alt_end : alt_end + after]
    return float(np.abs(left).sum(dtype=np.float64) + np.abs(right).sum(dtype=np.float64)) / 2
