"""Duplicates between the splits of a labelled set, exact and near, and labels that disagree."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findna import phases
from findna.benchmark.shared import K, SampledKmers, matches, sample_rate
from findna.data.datasets import Corpus, corpus_of
from findna.data.labelled_rows import holds_records, read_class, read_table
from findna.errors import ConfigError
from findna.io.source import kind_of, refuse_unused_genome
from findna.io.watch import unchanged

THRESHOLD = 0.5
"""A near duplicate has at least this fraction of its k-mers in one sequence of the other split, on either strand.

Two sequences that overlap by half are near duplicates, as are two of equal length that are 96 % identical.
"""

_N_EXAMPLES = 10

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Split:
    """One split under audit.

    Args:
        name: Its file name.
        corpus: Its sequences.
        labels: The label of each as text; "" if it has none.
        lines: Line of each in its file; shape (n,).
    """

    name: str
    corpus: Corpus
    labels: Sequence[str]
    lines: NDArray[np.int64]


@dataclass(frozen=True)
class NearPair:
    """A sequence and its duplicate in an earlier split.

    Args:
        line: Its line, in the later split.
        of_line: The other's line, in the earlier split.
        share: Fraction of its k-mers that the other has; 1.0 for an exact duplicate.
        labels: Its label, and the other's.
    """

    line: int
    of_line: int
    share: float
    labels: tuple[str, str]


@dataclass(frozen=True)
class Overlap:
    """Sequences that a later split shares with an earlier one; counts are of the later split's sequences.

    Args:
        earlier: Name of the earlier split.
        later: Name of the later split.
        n: Sequences of the later split.
        n_exact: Those that are in the earlier split, on either strand.
        n_reverse: Those that are on the other strand only.
        n_near: Near duplicates that are not exact ones.
        n_conflicts: Exact duplicates with another label.
        n_near_conflicts: Near duplicates whose best match has another label.
        examples: At most ten of them, those with conflicting labels first.
    """

    earlier: str
    later: str
    n: int
    n_exact: int
    n_reverse: int
    n_near: int
    n_conflicts: int
    n_near_conflicts: int
    examples: tuple[NearPair, ...]


@dataclass(frozen=True)
class Within:
    """Duplicates within a split.

    Args:
        name: Of the split.
        n: Its sequences.
        n_repeated: Exact duplicates, on either strand, of an earlier sequence.
        n_conflicts: Those with another label.
        examples: At most ten of them, those with conflicting labels first.
    """

    name: str
    n: int
    n_repeated: int
    n_conflicts: int
    examples: tuple[NearPair, ...]


@dataclass(frozen=True)
class Audit:
    """Findings of an audit.

    Args:
        within: One entry per split.
        overlaps: One entry per pair of splits, in their order.
        threshold: Of near duplicates.
    """

    within: tuple[Within, ...]
    overlaps: tuple[Overlap, ...]
    threshold: float

    @property
    def has_leaks(self) -> bool:
        """Whether a split holds exact or near duplicates of another, or a label contradicts another."""
        return any(o.n_exact + o.n_near for o in self.overlaps) or any(w.n_conflicts for w in self.within)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "k": K, "has_leaks": self.has_leaks}


def audit(splits: Sequence[Split], *, threshold: float = THRESHOLD) -> Audit:
    """Find sequences that occur earlier in the same split or in an earlier split.

    Args:
        splits: In the order of their use: training, validation, test.
        threshold: Minimum fraction of shared k-mers of a near duplicate; see `THRESHOLD`.
    """
    one_in = sample_rate([split.corpus for split in splits])
    looked_at = [(split, SampledKmers(split.corpus, one_in)) for split in splits]
    pairs = phases.track("comparing", [*combinations(looked_at, 2)])
    return Audit(
        within=tuple(_within(split, kmers) for split, kmers in looked_at),
        overlaps=tuple(_overlap(*a, *b, threshold=threshold) for a, b in pairs),
        threshold=threshold,
    )


def is_leaked(reference: Corpus, queries: Corpus, *, threshold: float = THRESHOLD) -> Bools:
    """Whether each query is an exact or near duplicate of a sequence of the reference; shape (n queries,)."""
    one_in = sample_rate([reference, queries])
    return matches(SampledKmers(reference, one_in), SampledKmers(queries, one_in), threshold=threshold)[0] >= threshold


def _within(split: Split, kmers: SampledKmers) -> Within:
    others = [kmers.first[key] for key in kmers.keys]
    pairs = [_pair(split, index, split, other, 1.0) for index, other in enumerate(others) if other != index]
    return Within(split.name, len(split.corpus), len(pairs), sum(map(_conflicts, pairs)), _examples(pairs))


def _overlap(
    earlier: Split, reference: SampledKmers, later: Split, queries: SampledKmers, *, threshold: float
) -> Overlap:
    shares, others = matches(reference, queries, threshold=threshold)
    exact, near, n_reverse = [], [], 0
    for index, key in enumerate(queries.keys):
        if key in reference.first:
            exact.append(_pair(later, index, earlier, reference.first[key], 1.0))
            n_reverse += hash(later.corpus[index].tobytes()) not in reference.as_written
        elif shares[index] >= threshold:
            near.append(_pair(later, index, earlier, int(others[index]), round(float(shares[index]), 4)))
    return Overlap(
        earlier=earlier.name,
        later=later.name,
        n=len(later.corpus),
        n_exact=len(exact),
        n_reverse=n_reverse,
        n_near=len(near),
        n_conflicts=sum(map(_conflicts, exact)),
        n_near_conflicts=sum(map(_conflicts, near)),
        examples=_examples(exact + near),
    )


def _pair(split: Split, index: int, of_split: Split, of_index: int, share: float) -> NearPair:
    labels = (split.labels[index], of_split.labels[of_index])
    return NearPair(int(split.lines[index]), int(of_split.lines[of_index]), share, labels)


def _conflicts(pair: NearPair) -> bool:
    return pair.labels[0] != pair.labels[1]


def _examples(pairs: list[NearPair]) -> tuple[NearPair, ...]:
    return tuple(sorted(pairs, key=lambda pair: not _conflicts(pair))[:_N_EXAMPLES])


def read_splits(
    files: Sequence[Path], *, genome: Path | None = None, sequence_column: str = "", label_column: str = ""
) -> list[Split]:
    """One split per file. FASTA and BED have no labels, and record numbers instead of line numbers.

    Args:
        files: In the order of their use.
        genome: FASTA or .2bit of the BED files.
        sequence_column: Of a table; see `findna.data.labelled_rows.read_table`.
        label_column: Of a table.

    Raises:
        InputError: A file is invalid.
        ConfigError: A file is a duplicate.
    """
    if len(set(files)) < len(files):
        raise ConfigError("duplicate file: give each split once")
    columns = {"sequence_column": sequence_column, "label_column": label_column}
    with unchanged([*files, *([genome] if genome else [])]):
        splits = [_read_split(path, genome=genome, **columns) for path in files]
        refuse_unused_genome(genome, map(kind_of, files))
    return splits


def _read_split(path: Path, *, genome: Path | None, sequence_column: str, label_column: str) -> Split:
    has_labels = not holds_records(str(path))
    rows = read_table(str(path), sequence_column, label_column) if has_labels else read_class(str(path), genome)
    return Split(
        name=str(path),
        corpus=corpus_of(row.codes for row in rows),
        labels=[row.label if has_labels else "" for row in rows],
        lines=np.array([row.line for row in rows], dtype=np.int64),
    )
