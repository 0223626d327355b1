"""What one split of a labelled set gives away of another: exact and near duplicates, and labels that disagree."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findna.data.datasets import Corpus, corpus_of
from findna.data.kmers import canonical_kmers, iter_kmers
from findna.data.labelled_rows import holds_records, read_class, read_table
from findna.data.overlap import digest
from findna.errors import ConfigError
from findna.sequence import Codes

K = 16
"""Bases of a k-mer. By chance, two sequences of 1,000 bases share one in some thousand pairs."""

THRESHOLD = 0.5
"""A near duplicate has at least this share of its k-mers in one sequence of the other split, on either strand.

Two sequences that overlap by half reach it, and so do two of equal length that are 96 % identical.
"""

_MOST_HOLDERS = 64
_N_SAMPLED = 64
_N_VERIFIED = 3
_SLACK = 0.7
_MOST_PAIRS = 1 << 22
_N_EXAMPLES = 10

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Split:
    """One split under audit.

    Args:
        name: What to call it: its file.
        corpus: Its sequences.
        labels: The label of each as text; "" where it has none.
        lines: Line of each in its file; shape (n,).
    """

    name: str
    corpus: Corpus
    labels: Sequence[str]
    lines: NDArray[np.int64]


@dataclass(frozen=True)
class NearPair:
    """A sequence, and the one that it repeats.

    Args:
        line: Its line, in the later split.
        of_line: The other's line, in the earlier split.
        share: Share of its k-mers that the other has; 1.0 for an exact duplicate.
        labels: Its label, and the other's.
    """

    line: int
    of_line: int
    share: float
    labels: tuple[str, str]


@dataclass(frozen=True)
class Overlap:
    """What a later split has of an earlier one; counts are of the later split's sequences.

    Args:
        earlier: Name of the split that is looked in.
        later: Name of the split whose sequences are looked for.
        n: Sequences of the later split.
        n_exact: Those that are in the earlier split, on either strand.
        n_reverse: Those of them that are on the other strand only.
        n_near: Near duplicates that are not exact ones.
        n_conflicts: Exact duplicates under another label.
        n_near_conflicts: Near duplicates whose best match has another label.
        examples: Ten of them at most, those with conflicting labels first.
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
    """What a split repeats of itself.

    Args:
        name: Of the split.
        n: Its sequences.
        n_repeated: Those that are an exact duplicate, on either strand, of one before them.
        n_conflicts: Those of them under another label.
        examples: Ten of them at most, those with conflicting labels first.
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
        within: One entry a split.
        overlaps: One entry a pair of splits, in their order.
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
        return {**asdict(self), "word": K, "has_leaks": self.has_leaks}


def audit(splits: Sequence[Split], *, threshold: float = THRESHOLD) -> Audit:
    """Look in each split for sequences of itself and of those before it.

    Args:
        splits: In the order of their use: training, validation, test.
        threshold: Share of k-mers from which on a sequence is a near duplicate; see `THRESHOLD`.
    """
    one_in = _one_in([split.corpus for split in splits])
    looked_at = [(split, _Kmers(split.corpus, one_in)) for split in splits]
    return Audit(
        within=tuple(_within(split, kmers) for split, kmers in looked_at),
        overlaps=tuple(_overlap(*a, *b, threshold=threshold) for a, b in combinations(looked_at, 2)),
        threshold=threshold,
    )


def is_leaked(reference: Corpus, queries: Corpus, *, threshold: float = THRESHOLD) -> Bools:
    """Whether each query is an exact or near duplicate of a sequence of the reference; shape (n queries,)."""
    one_in = _one_in([reference, queries])
    return _matches(_Kmers(reference, one_in), _Kmers(queries, one_in), threshold=threshold)[0] >= threshold


class _Kmers:
    """What is compared of a split: a digest of each sequence, and a sample of its k-mers.

    The samples of two splits are of the same k-mers where `one_in` is the same.
    """

    def __init__(self, corpus: Corpus, one_in: int) -> None:
        self.corpus, self._one_in = corpus, one_in

    @cached_property
    def keys(self) -> list[bytes]:
        """A digest of each sequence, the same for both strands."""
        return [digest(self.corpus[index]) for index in range(len(self.corpus))]

    @cached_property
    def first(self) -> dict[bytes, int]:
        """The first sequence of each digest."""
        found: dict[bytes, int] = {}
        for index, key in enumerate(self.keys):
            found.setdefault(key, index)
        return found

    @cached_property
    def as_written(self) -> set[int]:
        """Hashes of the sequences on their own strand."""
        return {hash(self.corpus[index].tobytes()) for index in range(len(self.corpus))}

    @cached_property
    def sampled(self) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """(sequence, hash) of the different k-mers in the sample, ordered by sequence."""
        limit, parts = np.uint32(0xFFFFFFFF // self._one_in), []
        for owners, kmers in iter_kmers(self.corpus, K):
            mixed = kmers * np.uint32(0x9E3779B1)  # odd factors and a shift: one to one
            mixed = (mixed ^ mixed >> np.uint32(15)) * np.uint32(0x85EBCA77)
            chosen = mixed <= limit
            parts.append(_different(owners[chosen].astype(np.uint64) << np.uint64(32) | mixed[chosen]))
        keys = np.concatenate(parts) if parts else np.empty(0, np.uint64)
        return (keys >> np.uint64(32)).astype(np.int64), (keys & np.uint64(0xFFFFFFFF)).astype(np.uint32)

    @cached_property
    def by_hash(self) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """The same, ordered by hash."""
        owners, hashes = self.sampled
        order = np.argsort(hashes, kind="stable")
        return owners[order], hashes[order]


def _different(values: NDArray[Any]) -> NDArray[Any]:
    """The different values, sorted; several times as fast here as `np.unique`, which hashes."""
    values = np.sort(values)
    return values[np.concatenate([[True], values[1:] != values[:-1]])] if len(values) else values


def _within(split: Split, kmers: _Kmers) -> Within:
    others = [kmers.first[key] for key in kmers.keys]
    pairs = [_pair(split, index, split, other, 1.0) for index, other in enumerate(others) if other != index]
    return Within(split.name, len(split.corpus), len(pairs), sum(map(_conflicts, pairs)), _examples(pairs))


def _overlap(earlier: Split, reference: _Kmers, later: Split, queries: _Kmers, *, threshold: float) -> Overlap:
    shares, others = _matches(reference, queries, threshold=threshold)
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


def _matches(reference: _Kmers, queries: _Kmers, *, threshold: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The share of each query's k-mers that one reference sequence has, and which; 0 and -1 below the threshold.

    Candidates, the most probable first, are found by a sample of the k-mers and verified with all of them. Of a k-mer
    that more than 64 sequences hold, the first 64 are looked at: a share may be missed, never made up.
    """
    shares, others = np.zeros(len(queries.keys)), np.full(len(queries.keys), -1)
    for index, key in enumerate(queries.keys):
        if key in reference.first:
            shares[index], others[index] = 1.0, reference.first[key]
    owners, hashes = queries.sampled
    is_open = shares[owners] == 0
    owners, hashes = owners[is_open], hashes[is_open]
    n_kmers = np.bincount(owners, minlength=len(shares))
    for query, other, n_shared in _shared(owners, hashes, reference):
        if n_shared >= _SLACK * threshold * n_kmers[query] and not shares[query]:
            share = _share(queries.corpus[query], reference.corpus[other])
            if share >= threshold:
                shares[query], others[query] = share, other
    return shares, others


def _one_in(corpora: Sequence[Corpus]) -> int:
    """One k-mer in how many is looked at: about 64 remain of all but the shortest tenth of the sequences."""
    lengths = np.concatenate([np.diff(corpus.offsets) for corpus in corpora])
    return max(1, round((float(np.quantile(lengths, 0.1)) - K + 1) / _N_SAMPLED)) if lengths.size else 1


def _shared(owners: NDArray[np.int64], hashes: NDArray[np.uint32], reference: _Kmers) -> Iterator[tuple[int, int, int]]:
    """Yield (query, reference sequence, sampled k-mers that they share), for each query the three best."""
    holders, held = reference.by_hash
    n_reference = len(reference.corpus)
    begin = np.searchsorted(held, hashes, side="left")
    n_holders = np.minimum(np.searchsorted(held, hashes, side="right") - begin, _MOST_HOLDERS)
    n_pairs = np.concatenate([[0], np.cumsum(n_holders)])
    edges = np.concatenate([[0], np.flatnonzero(np.diff(owners)) + 1, [len(owners)]])  # where queries begin
    first = 0
    while first < len(edges) - 1:
        last = int(np.searchsorted(n_pairs[edges], n_pairs[edges[first]] + _MOST_PAIRS, side="right")) - 1
        last = max(last, first + 1)
        rows = slice(int(edges[first]), int(edges[last]))
        counts = n_holders[rows]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        found = holders[np.repeat(begin[rows], counts) + within]
        pairs, n_shared = np.unique(np.repeat(owners[rows], counts) * n_reference + found, return_counts=True)
        queries, others = pairs // n_reference, pairs % n_reference
        best = np.lexsort((others, -n_shared, queries))
        queries, others, n_shared = queries[best], others[best], n_shared[best]
        starts = np.flatnonzero(np.diff(queries, prepend=-1))
        rank = np.arange(len(queries)) - np.repeat(starts, np.diff(np.append(starts, len(queries))))
        is_best = rank < _N_VERIFIED
        yield from zip(queries[is_best].tolist(), others[is_best].tolist(), n_shared[is_best].tolist(), strict=True)
        first = last


def _share(query: Codes, other: Codes) -> float:
    kmers, is_known = canonical_kmers(query, K)
    own = _different(kmers[is_known])
    kmers, is_known = canonical_kmers(other, K)
    return float(np.isin(own, kmers[is_known]).mean()) if own.size else 0.0


def read_splits(
    files: Sequence[Path], *, genome: Path | None = None, sequence_column: str = "", label_column: str = ""
) -> list[Split]:
    """A split a file: a labelled table, or a FASTA or BED, which have no labels; they count as records, not lines.

    Args:
        files: In the order of their use.
        genome: FASTA or .2bit that BED files are on.
        sequence_column: Of a table; see `findna.data.labelled_rows.read_table`.
        label_column: Of a table.

    Raises:
        InputError: A file is invalid.
        ConfigError: A file is a duplicate.
    """
    if len(set(files)) < len(files):
        raise ConfigError("duplicate file: give each split once")
    return [
        _read_split(path, genome=genome, sequence_column=sequence_column, label_column=label_column) for path in files
    ]


def _read_split(path: Path, *, genome: Path | None, sequence_column: str, label_column: str) -> Split:
    has_labels = not holds_records(str(path))
    rows = read_table(str(path), sequence_column, label_column) if has_labels else read_class(str(path), genome)
    return Split(
        name=str(path),
        corpus=corpus_of(row.codes for row in rows),
        labels=[row.label if has_labels else "" for row in rows],
        lines=np.array([row.line for row in rows], dtype=np.int64),
    )
