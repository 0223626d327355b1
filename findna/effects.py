"""Effects in the Python API: scores of variants, and mutagenesis of a sequence."""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findna.cells import CHUNK
from findna.config import ComputeConfig, ScoreConfig
from findna.io.genome import Genome
from findna.io.memory import Bases, read_sequences
from findna.io.vcf import Site
from findna.models.folders import DEFAULT
from findna.models.store import Model, model_of
from findna.models.task import TaskModel, task_of
from findna.nn.device import Compute
from findna.saturation import BaseMutagenesis, TaskMutagenesis
from findna.settings import make, with_settings
from findna.variants import VariantScorer


@dataclass(frozen=True)
class Scores:
    """Scores of n variants.

    Args:
        names: Names of the k scores.
        values: Shape (n, k), float64; NaN if a variant has no score.
        reasons: Why a variant has no score; "" if it has one.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    reasons: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.values)


@with_settings(ScoreConfig, ComputeConfig, without=("threads", "deterministic"))
def score_variants(
    variants: Iterable[tuple[str, int, str, str]],
    genome: str | Path | Genome,
    *,
    model: str | Path | Model = DEFAULT,
    task: str | Path | TaskModel | None = None,
    **settings: Any,
) -> Scores:
    """Score variants: how the predictions of a model change from REF to ALT, as `findna score` does.

    Args:
        variants: (chrom, pos, ref, alt) of each, pos 1-based as in VCF.
        genome: FASTA or .2bit that they were called on, or an open genome.
        model: A teacher: a shipped model's name, a model folder, or a loaded model.
        task: A task model instead: the change of its probabilities.
        settings: Fields of `findna.config.ScoreConfig` and `ComputeConfig`.

    Raises:
        VariantError: A variant does not fit the genome.
        ModelError: The model is not found or damaged.
        ConfigError: A setting is out of range.
    """
    compute = Compute.of(settings)
    config = make(ScoreConfig, settings)
    sites = [Site(chrom, pos - 1, ref, (alt,), row) for row, (chrom, pos, ref, alt) in enumerate(variants)]
    with Genome(genome) if isinstance(genome, str | Path) else nullcontext(genome) as opened:
        one = model_of(model) if task is None else task_of(task)
        scorer = VariantScorer(one, opened, config, compute=compute)
        scored = [each for i in range(0, len(sites), CHUNK) for each in scorer.score(sites[i : i + CHUNK])]
    names = tuple(field.name for field in scorer.fields)
    values = np.full((len(sites), len(names)), np.nan)
    for row, each in enumerate(scored):
        if each.fault is not None:
            raise each.fault
        if (found := each.outcomes[0].values) is not None:
            values[row] = found
    return Scores(names, values, tuple(each.outcomes[0].reason for each in scored))


@with_settings(ComputeConfig, without=("threads", "deterministic"))
def mutagenesis(
    sequence: Bases,
    *,
    model: str | Path | Model = DEFAULT,
    task: str | Path | TaskModel | None = None,
    label: str = "",
    **settings: Any,
) -> NDArray[np.float32]:
    """The effect of A, C, G and T at each position of a sequence, shape (L, 4); both strands are averaged.

    0 for the reference base, NaN if that is N. With a teacher: the log-probability of the base minus that of the
    reference base, which is masked. With a task: the log-odds of a class minus those of the reference.

    Args:
        sequence: Text, or codes.
        model: As for `score_variants`.
        task: A task model instead.
        label: Its class; "": the second of two.
        settings: Fields of `findna.config.ComputeConfig`.

    Raises:
        InputError: The sequence is empty or not DNA.
        ConfigError: The task has no such class.
    """
    compute = Compute.of(settings)
    (record,) = read_sequences([sequence])
    if task is None:
        teacher = BaseMutagenesis(model_of(model), compute=compute)
        return teacher.effects(record.codes)
    judge = TaskMutagenesis(task_of(task), label=label, compute=compute)
    return judge.effects(record.codes)
