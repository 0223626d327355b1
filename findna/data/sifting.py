"""Windows drawn from origins, and those that are skipped, by reason."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from findna.data.datasets import corpus_of, cut_region, draw_places
from findna.data.options import WindowsConfig
from findna.data.origins import Origin
from findna.data.overlap import KmerSet, Novelty
from findna.errors import InputError
from findna.region import Region
from findna.sequence import Codes, N, reverse_complement

BLOCK = 4096
"""Number of windows drawn at a time. It is part of the recipe: another number gives other windows."""

_DRY_BLOCKS = 8

_DRY_SHARE = 0.02

REASONS = {
    "n": "for too much N",
    "excluded": "for 31-mers of excluded sequences",
    "repeated": "as duplicates on either strand",
    "overlapping": "for 31-mers of earlier windows",
}
"""Reasons to skip a window, in the order of the tests."""


def reasons_of(n_left_out: Mapping[str, int]) -> str:
    """Why windows were skipped, and how many, in words.

    >>> reasons_of({"n": 1200, "repeated": 0})
    '1,200 for too much N'
    """
    return ", ".join(f"{n_left_out[one]:,} {text}" for one, text in REASONS.items() if n_left_out.get(one)) or "none"


class DrawnWindow(NamedTuple):
    """A window and its origin.

    Args:
        region: Its place on its contig and its strand.
        codes: Its bases, on its own strand.
        origin: Index of its origin.
    """

    region: Region
    codes: Codes
    origin: int


class Sift:
    """An iterator over the kept windows, which counts the skipped ones.

    Args:
        origins: The sources of windows.
        config: The settings of the windows.
        factors: Weight of each origin.
        excluded: K-mers that windows must not have.
        novelty: The kept windows so far.
        is_held_out: Draw from the held-out stretches; fewer windows are then not an error.

    Attributes:
        n_drawn: Windows drawn so far.
        left_out: Number of skipped windows, by reason.
        kept: Number of kept windows, by origin.

    Raises:
        InputError: There is nothing to draw from, or almost no draw gives a new window.
    """

    def __init__(
        self,
        origins: Sequence[Origin],
        config: WindowsConfig,
        factors: Sequence[float],
        excluded: KmerSet,
        novelty: Novelty,
        *,
        is_held_out: bool,
    ) -> None:
        self.n_drawn, self.n_bases = 0, 0
        self.left_out, self.kept = Counter[str](), Counter[str]()
        self._origins, self._config, self._excluded, self._novelty = origins, config, excluded, novelty
        self._is_held_out = is_held_out
        self._pool = _Pool(origins, factors, min_length=config.min_length, is_held_out=is_held_out)
        self._n = config.n_held_out if is_held_out else config.n
        if not self._pool.shares.sum():
            what = "held out" if is_held_out else "left to train on"
            raise InputError(f"no stretch of at least {config.min_length} bases is {what}")

    def __iter__(self) -> Iterator[DrawnWindow]:
        n = 0
        recent = [BLOCK] * _DRY_BLOCKS
        for block in self._pool.draw(self._config, is_held_out=self._is_held_out):
            n_before = n
            for window, reason in self._judge(block, most=self._n - n):
                self.n_drawn += 1
                if reason:
                    self.left_out[reason] += 1
                    continue
                n += 1
                self.n_bases += len(window.codes)
                self.kept[self._origins[window.origin].name] += 1
                yield window
                if n == self._n:
                    return
            recent = [*recent[1:], n - n_before]
            if sum(recent) < _DRY_SHARE * _DRY_BLOCKS * BLOCK:
                if self._is_held_out and n:
                    return
                raise InputError(
                    f"only {n:,} of {self._n:,} windows can be drawn ({self.n_drawn:,} draws); skipped: "
                    f"{reasons_of(self.left_out)}; ask for fewer windows, or allow a larger max_n or max_shared"
                )

    def summary(self) -> dict[str, Any]:
        """Counts for the manifest."""
        return {
            "n_windows": sum(self.kept.values()),
            "n_bases": self.n_bases,
            "n_drawn": self.n_drawn,
            "n_left_out": {reason: self.left_out[reason] for reason in REASONS},
            "by_source": {origin.name: self.kept[origin.name] for origin in self._origins},
        }

    def _judge(self, block: Sequence[DrawnWindow], *, most: int) -> Iterator[tuple[DrawnWindow, str]]:
        """Each window with the reason to skip it, or ""; ends after `most` kept windows."""
        is_n = np.array([np.mean(window.codes == N) > self._config.max_n for window in block])
        n_excluded = self._excluded.count_in(corpus_of(window.codes for window in block))
        is_excluded = n_excluded >= self._config.exclude_kmers
        is_fit = ~is_n & ~is_excluded
        fit = [window.codes for window, fits in zip(block, is_fit, strict=True) if fits]
        verdicts = iter(self._novelty.sift(fit, most=most))
        for index, window in enumerate(block):
            yield window, "n" if is_n[index] else "excluded" if is_excluded[index] else next(verdicts)


class _Pool:
    """All stretches to draw from, with their weights."""

    def __init__(
        self, origins: Sequence[Origin], factors: Sequence[float], *, min_length: int, is_held_out: bool
    ) -> None:
        own = [
            (index, stretch)
            for index, origin in enumerate(origins)
            for stretch in (origin.held_out if is_held_out else origin.training)
            if len(stretch) >= min_length
        ]
        self.stretches = [stretch for _, stretch in own]
        self._origins, self._fetch = [index for index, _ in own], [origin.fetch for origin in origins]
        self.lengths = np.array([len(stretch) for stretch in self.stretches], dtype=np.int64)
        self.shares = np.array([len(stretch) * factors[index] for index, stretch in own])

    def draw(self, config: WindowsConfig, *, is_held_out: bool) -> Iterator[list[DrawnWindow]]:
        """Yield blocks of windows without end; block b depends only on (seed, b) and the stretches."""
        for number in itertools.count():
            draws = np.random.default_rng((config.seed, int(is_held_out), number)).random((BLOCK, 4))
            wanted = config.min_length + (draws[:, 1] * (config.max_length - config.min_length + 1)).astype(np.int64)
            places = draw_places(draws[:, (0, 2)], self.lengths, shares=self.shares, wanted=wanted)
            is_reverse = (draws[:, 3] < 0.5) & (config.strand == "both")
            yield self._cut(places, is_reverse.tolist())

    def _cut(self, places: Sequence[tuple[int, int, int]], is_reverse: Sequence[bool]) -> list[DrawnWindow]:
        windows: dict[int, DrawnWindow] = {}
        for origin, fetch in enumerate(self._fetch):
            own = [index for index, (which, _, _) in enumerate(places) if self._origins[which] == origin]
            regions = [cut_region(self.stretches[places[i][0]].region, *places[i][1:]) for i in own]
            for index, codes in zip(own, fetch(regions), strict=True):
                which, start, end = places[index]
                place = self.stretches[which].place(start, end, strand="-" if is_reverse[index] else "+")
                windows[index] = DrawnWindow(place, reverse_complement(codes) if is_reverse[index] else codes, origin)
        return [windows[index] for index in range(len(places))]
