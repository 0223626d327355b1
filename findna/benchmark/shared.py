"""Sequences that share k-mers: candidates by a sample of the k-mers, verified with all of them."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findna.data.datasets import Corpus
from findna.data.kmers import canonical_kmers, iter_kmers
from findna.data.overlap import digest
from findna.sequence import Codes

K = 16
"""k. By chance, one in some thousand pairs of 1,000-base sequences shares a k-mer."""

_MOST_HOLDERS = 64

_N_SAMPLED = 64

_N_VERIFIED = 3

_SLACK = 0.7

_MOST_PAIRS = 1 << 22


class SampledKmers:
    """The data of a split for a comparison: a digest of each sequence, and a sample of its k-mers.

    With the same `one_in`, two splits sample the same k-mers.
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
        """Hashes of the sequences on the strand as given."""
        return {hash(self.corpus[index].tobytes()) for index in range(len(self.corpus))}

    @cached_property
    def sampled(self) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """(sequence, hash) of the distinct sampled k-mers, ordered by sequence."""
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
    """The distinct values, sorted; several times as fast here as `np.unique`, which hashes."""
    values = np.sort(values)
    return values[np.concatenate([[True], values[1:] != values[:-1]])] if len(values) else values


def matches(
    reference: SampledKmers, queries: SampledKmers, *, threshold: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The largest fraction of each query's k-mers in one reference sequence, and its index; else 0 and -1.

    Candidates are found by a sample of the k-mers and verified with all of them, the best first. If a k-mer is in
    more than 64 sequences, only the first 64 are compared, so a match can be missed but not invented.
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


def sample_rate(corpora: Sequence[Corpus]) -> int:
    """Sample one in this many k-mers, so that nine tenths of the sequences have about 64 or more in the sample."""
    lengths = np.concatenate([np.diff(corpus.offsets) for corpus in corpora])
    return max(1, round((float(np.quantile(lengths, 0.1)) - K + 1) / _N_SAMPLED)) if lengths.size else 1


def _shared(
    owners: NDArray[np.int64], hashes: NDArray[np.uint32], reference: SampledKmers
) -> Iterator[tuple[int, int, int]]:
    """Yield (query, reference sequence, number of shared sampled k-mers): the three best for each query."""
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
