"""Alleles in windows, on both strands, and the masked windows of a likelihood ratio."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from findna.config import ScoreConfig, window_fault
from findna.errors import ConfigError
from findna.sequence import BLANK, Codes, N, reverse_complement

SPAN = 8
"""Bases on each side of the longer allele in the span of an indel's pseudo-log-likelihood."""

PASSES = 6
"""Number of passes over such a span; each masks every sixth base."""


def window_of(config: ScoreConfig, *, longest: int) -> int:
    """Bases in a window of the scores of a model whose windows have at most `longest` bases.

    Raises:
        ConfigError: The window is too small for the longest allele, or longer than the model's.
    """
    window = config.window or longest
    if fault := window_fault(window, longest=longest):
        raise ConfigError(fault)
    if window < (least := 2 * (config.max_length + SPAN)):
        raise ConfigError(f"max_length={config.max_length} needs a window of at least {least:,} bases, not {window:,}")
    return window


class Allele(NamedTuple):
    """An allele in its window, on one strand.

    Args:
        codes: The window, shape (n,).
        start: Where the allele begins in it.
        length: Bases of the allele.
    """

    codes: Codes
    start: int
    length: int


def centred(left: Codes, allele: Codes, right: Codes, *, size: int) -> Allele:
    """An allele in the middle of a window of `size` bases. If one flank is too short, the window shifts.

    Args:
        left: Bases to the left of the allele, up to the contig's end.
        allele: The allele.
        right: Bases to its right.
        size: At most the number of all these bases.

    >>> centred(np.zeros(9, np.uint8), np.ones(1, np.uint8), np.zeros(2, np.uint8), size=8).start
    5
    """
    before = min(max((size - len(allele)) // 2, size - len(allele) - len(right)), len(left))
    after = size - len(allele) - before
    return Allele(np.concatenate([left[len(left) - before :], allele, right[:after]]), before, len(allele))


class Pair(NamedTuple):
    """Both alleles on one strand, in windows of one length."""

    ref: Allele
    alt: Allele


def pair_alleles(left: Codes, ref: Codes, alt: Codes, right: Codes, *, size: int) -> tuple[Pair, Pair]:
    """Both alleles in windows of one length, on the forward strand and on the reverse.

    Windows of the reverse strand are made on that strand, so a variant and its reverse complement give equal pairs.
    """
    size = min(size, len(left) + min(len(ref), len(alt)) + len(right))

    def on_strand(left: Codes, ref: Codes, alt: Codes, right: Codes) -> Pair:
        return Pair(centred(left, ref, right, size=size), centred(left, alt, right, size=size))

    left_reverse, ref_reverse, alt_reverse, right_reverse = map(reverse_complement, (left, ref, alt, right))
    return on_strand(left, ref, alt, right), on_strand(right_reverse, ref_reverse, alt_reverse, left_reverse)


class Term(NamedTuple):
    """A part of a log-likelihood ratio: `sign` times the sum of the log-probabilities of bases in a masked window.

    Args:
        window: Its codes, masked bases blank.
        places: Which of the masked positions, counted from the left.
        bases: The bases to put there.
        sign: 1 for ALT, -1 for REF.
    """

    window: Codes
    places: NDArray[np.int64]
    bases: Codes
    sign: int


def likelihood_terms(pair: Pair) -> list[Term]:
    """The terms of the log-likelihood ratio of a pair.

    Alleles of the same length: the bases that differ, all masked at once, in one window. Other alleles: the
    pseudo-log-likelihood of each allele over a span (the longer allele and `SPAN` bases on each side), in `PASSES`
    windows.
    """
    if pair.ref.length == pair.alt.length:
        differs = np.flatnonzero(pair.ref.codes != pair.alt.codes)
        masked = pair.ref.codes.copy()
        masked[differs] = BLANK
        places = np.arange(len(differs))
        return [Term(masked, places, allele.codes[differs], sign) for allele, sign in ((pair.alt, 1), (pair.ref, -1))]
    n_span = max(pair.ref.length, pair.alt.length) + 2 * SPAN
    return [*_span_terms(pair.alt, n_span, 1), *_span_terms(pair.ref, n_span, -1)]


def _span_terms(allele: Allele, n_span: int, sign: int) -> Iterator[Term]:
    n_span = min(n_span, len(allele.codes))
    first = allele.start - (n_span - allele.length) // 2
    first = min(max(first, 0), len(allele.codes) - n_span)
    for offset in range(min(PASSES, n_span)):
        places = np.arange(first + offset, first + n_span, PASSES)
        bases = allele.codes[places]
        masked = allele.codes.copy()
        masked[places] = BLANK
        known = np.flatnonzero(bases < N)
        yield Term(masked, known, bases[known], sign)
