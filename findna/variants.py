"""Effects of variants: the output of a network for both alleles in their windows, and the difference."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from findna.alleles import Pair, pair_alleles, window_of
from findna.config import ScoreConfig
from findna.errors import VariantError
from findna.io.genome import Genome
from findna.io.remedies import renamed
from findna.io.scores import Outcome
from findna.io.vcf import Site, brief
from findna.judges import Judge, TaskJudge, TeacherJudge
from findna.models.store import Model
from findna.models.task import TaskModel
from findna.nn.device import Compute
from findna.region import Region
from findna.sequence import Codes, decode, encode


class Scored(NamedTuple):
    """The outcome of a record.

    Args:
        outcomes: One per ALT, in order; a record without ALT has one, with this reason.
        fault: Why the record does not fit the genome; its outcomes have the reason as one word.
    """

    outcomes: list[Outcome]
    fault: VariantError | None = None


class VariantScorer:
    """A model or a task on its device, which scores variants.

    Args:
        model: A model (log-likelihood ratio, distances, influence) or a task (the change of its probabilities).
        genome: The genome of the variants, open.
        config: The scores to compute.
        source: Name of the file of variants in messages.
        with_vectors: Whether outcomes have the vectors of both alleles; not of a task.
        compute: Where and how it runs; the rest is float32.

    Attributes:
        fields: The scores of each ALT, in their order.
        window: Bases in a window.
        reader: Runs the windows through the network.

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
        self._said: Judge = (
            TaskJudge(model) if isinstance(model, TaskModel) else TeacherJudge(model, config, with_vectors=with_vectors)
        )
        self.fields = self._said.fields
        self.window = window_of(config, longest=self._said.window)
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
        """Why some ALTs have no score, as far as it is known yet, and the windows of the others."""
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
        name = self._source if self._source.endswith((".vcf", ".vcf.gz", ".vcf.bgz")) else ""
        if remedy := renamed(site.chrom, self.genome.contigs, name):
            reason += f"; {remedy}"
        return self._misfit(site, reason, "out_of_range" if site.chrom in self.genome.contigs else "contig_not_found")

    def _mismatch(self, site: Site, there: str, *, n_bad: int, n_all: int) -> "_Misfit":
        others = f" ({n_bad:,} of {n_all:,} records around it do not match)" if n_bad > 1 else ""
        reason = f"REF is {brief(site.ref)}, but {self.genome.path.name} has {brief(there)} there{others}"
        return self._misfit(site, f"{reason}; are the variants on another assembly?", "ref_mismatch")

    def _misfit(self, site: Site, reason: str, word: str) -> "_Misfit":
        error = VariantError(reason, path=self._source or None, line=site.line, record=str(site), row=site.row)
        return _Misfit(error, word)


class _Job(NamedTuple):
    """The windows of an ALT, with the index of its record and its own index there."""

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
    """Why an ALT has no score, in one word, for INFO of a VCF; "" if it has one.

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
    """Whether an allele consists of A, C, G and T, in upper or lower case."""
    return bool(text) and not text.upper().strip("ACGT")
