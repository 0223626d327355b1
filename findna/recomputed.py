"""Rows of an output, computed again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from findna.config import SCORES, ClassifyConfig, EmbedConfig, ScoreConfig
from findna.io.effects import SCHEMA as MUTAGENESIS
from findna.io.genome import Genome
from findna.io.written_rows import Row, Written
from findna.masked import MaskedBases
from findna.models.store import Model
from findna.models.task import TaskModel
from findna.nn.device import Compute
from findna.runs.job import RowMaker
from findna.runs.row_makers import AnswerRows, VectorRows
from findna.saturation import BaseMutagenesis, TaskMutagenesis
from findna.sequence import encode
from findna.variants import VariantScorer


class Unchecked(Exception):
    """A file that a check needs is not found."""


class SampledRow(NamedTuple):
    """A row, its number, and its record or variant; None if the inputs are not found."""

    number: int
    row: Row
    item: Any


class Recomputed(NamedTuple):
    """The stored values of a row, and the values computed now; `Written.more` follows the stored ones."""

    stored: list[NDArray[Any]]
    values: list[NDArray[Any]]


def params_of(written: Written) -> Mapping[str, Any]:
    """The settings in an output."""
    return {**written.meta, **written.meta.get("params", {})}


def config_of(kind: type[Any], params: Mapping[str, Any], **others: Any) -> Any:
    """A config from the settings in an output."""
    names = [each.name for each in fields(kind)]
    return kind(**{name: params[name] for name in names if name in params} | others)


def _compute(written: Written) -> Compute:
    return Compute.pick(precision=str(params_of(written)["precision"]))


def _vectors(
    written: Written, loaded: Model | TaskModel, genome: Genome | None, sample: Sequence[SampledRow]
) -> Iterator[Recomputed]:
    if params_of(written).get("alleles"):
        raise Unchecked("vectors of alleles are not recomputed; verify the scores of the same run")
    if any(one.item is None for one in sample):
        raise Unchecked("an input is not found or cannot be read again")
    params = params_of(written)
    compute = _compute(written)
    maker: RowMaker
    if isinstance(loaded, TaskModel):
        maker = AnswerRows(loaded, config_of(ClassifyConfig, params), compute)
    else:
        maker = VectorRows(loaded, config_of(EmbedConfig, params), compute)
    tokens, has_tokens = _Tokens(), maker.layout().tokens_dim is not None
    done = iter(sample)
    for cell in maker.cells([one.item for one in sample]):
        if cell.tokens is not None:
            tokens.write_tokens(cell.tokens)
        for i, x in enumerate(cell.x):
            one, now = next(done), [x]
            for name in ("chrom", "start", "end", "strand", "length", "n_windows"):
                if str(one.row.obs[name]) != str(cell.obs[name][i]):
                    reason = f"{name} is {one.row.obs[name]}, and of its record {cell.obs[name][i]}"
                    raise written.fail(f"row {one.number:,} ({one.row.id}): {reason}")
            now += [cell.cls[i]] if cell.cls is not None else []
            now += [tokens.take(len(one.item.codes))] if has_tokens else []
            yield Recomputed([one.row.x], now)


class _Tokens:
    """Collects tokens and returns them record by record."""

    def __init__(self) -> None:
        self._tokens = np.empty((0, 0), np.float32)

    def write_tokens(self, tokens: NDArray[Any]) -> None:
        """Add the next tokens."""
        self._tokens = np.concatenate([self._tokens.reshape(-1, tokens.shape[1]), tokens.astype(np.float32)])

    def take(self, n: int) -> NDArray[Any]:
        """The first of the remaining tokens."""
        taken, self._tokens = self._tokens[:n], self._tokens[n:]
        return taken


def _bases(
    written: Written, loaded: Model | TaskModel, genome: Genome | None, sample: Sequence[SampledRow]
) -> Iterator[Recomputed]:
    params, compute = params_of(written), _compute(written)
    for one in sample:
        codes = encode(one.row.obs["sequence"])[0]
        if one.item is not None and not np.array_equal(codes, one.item.codes[: len(codes)]):
            raise written.fail(f"row {one.number:,} ({one.row.id}) has other bases than its record")
        if one.item is not None:
            codes = one.item.codes
        if isinstance(loaded, TaskModel):
            label = str(params["value"]).removeprefix("log-odds of ").partition(" minus ")[0]
            label = label if label in loaded.settings.classes else ""
            values = TaskMutagenesis(loaded, label=label, compute=compute).effects(codes)
        elif written.kind.startswith(MUTAGENESIS):
            values = BaseMutagenesis(loaded, compute=compute).effects(codes)
        else:
            masked = MaskedBases(loaded.network, passes=int(params["passes"]), compute=compute)
            values = next(masked.predict([codes]))
        yield Recomputed([one.row.x], [values[: len(one.row.x)]])


def _scores(
    written: Written, loaded: Model | TaskModel, genome: Genome | None, sample: Sequence[SampledRow]
) -> Iterator[Recomputed]:
    if genome is None:
        raise Unchecked("the genome is not found")
    params = params_of(written)
    names = tuple(params["scores"].split(",")) if "scores" in params else SCORES
    config = ScoreConfig(names, int(params["window"]), int(params["max_length"]))
    scorer = VariantScorer(loaded, genome, config, compute=_compute(written))
    for one, scored in zip(sample, scorer.score([one.row.obs["site"] for one in sample]), strict=True):
        outcome, obs = scored.outcomes[0], one.row.obs
        if obs["status"] != (outcome.reason or "ok"):
            raise written.fail(f"{one.row.id}: its status is {obs['status']}, and now {outcome.reason or 'ok'}")
        if outcome.values is None:
            yield Recomputed([], [])
            continue
        stored = [float(obs[field.key if field.key in obs else field.name]) for field in scorer.fields]
        yield Recomputed([np.array(stored)], [np.array(outcome.values)])


def recompute(
    written: Written, loaded: Model | TaskModel, genome: Genome | None, sample: Sequence[SampledRow]
) -> Iterator[Recomputed]:
    """Compute rows of an output again, in their order.

    Raises:
        TableError: A row is not that of its record.
        Unchecked: Its inputs are not found.
    """
    compute = {"vectors": _vectors, "bases": _bases, "scores": _scores}[written.family]
    return compute(written, loaded, genome, sample)
