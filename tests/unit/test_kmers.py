"""k-mers: the same for both strands, none with N, none across two sequences."""

import numpy as np
import pytest

from findna.data.datasets import corpus_of
from findna.data.kmers import canonical_kmers, iter_kmers
from findna.sequence import decode, encode, reverse_complement


def as_number(bases: str) -> int:
    return int("".join(str("ACGT".index(base)) for base in bases), 4)


@pytest.mark.parametrize("k", [1, 2, 3, 7, 16, 17, 30, 31])
def test_a_word_is_the_smaller_of_itself_and_its_reverse_complement(k):
    codes = np.random.default_rng(k).choice(5, size=200, p=[0.24, 0.25, 0.25, 0.25, 0.01]).astype(np.uint8)
    words, is_known = canonical_kmers(codes, k)
    assert len(words) == len(is_known) == 200 - k + 1
    for place, (word, known) in enumerate(zip(words.tolist(), is_known.tolist(), strict=True)):
        own = codes[place : place + k]
        assert known == ("N" not in decode(own))
        if known:
            assert word == min(as_number(decode(own)), as_number(decode(reverse_complement(own))))


def test_a_sequence_that_is_shorter_than_a_word_has_none():
    words, is_known = canonical_kmers(encode("ACGT")[0], 5)
    assert len(words) == len(is_known) == 0


@pytest.mark.parametrize("k", [0, 32])
def test_words_have_1_to_31_bases(k):
    with pytest.raises(ValueError, match=f"not {k}"):
        canonical_kmers(encode("ACGT")[0], k)


def test_words_do_not_cross_from_one_sequence_to_the_next():
    draws = np.random.default_rng(1)
    sequences = [draws.integers(0, 4, n).astype(np.uint8) for n in (90_000, 31, 5, 300_000, 33, 30, 200_000)]
    found = list(iter_kmers(corpus_of(sequences), 31))
    assert len(found) > 1  # in several chunks
    owners, words = (np.concatenate(parts) for parts in zip(*found, strict=True))
    for index, codes in enumerate(sequences):
        assert words[owners == index].tolist() == canonical_kmers(codes, 31)[0].tolist()
