"""The corpus: sampling, held-out contigs, crops, order of the steps."""

import numpy as np
import pytest

from findna.data.datasets import corpus_of, crop, held_by, iter_steps, sample_windows
from findna.errors import InputError
from findna.region import Region
from findna.sequence import N


def test_a_corpus_gives_its_windows_back():
    windows = [np.array(values, np.uint8) for values in ([0, 1, 2], [3], [4, 4])]
    corpus = corpus_of(iter(windows))
    assert len(corpus) == 3
    assert [corpus[i].tolist() for i in range(3)] == [[0, 1, 2], [3], [4, 4]]
    assert [window.tolist() for window in corpus] == [[0, 1, 2], [3], [4, 4]]
    assert len(corpus_of([])) == 0


def sample(sequences, **kwargs):
    stretches = [Region(str(i), 0, len(codes)) for i, codes in enumerate(sequences)]
    fetch = lambda regions: [sequences[int(r.chrom)][r.start : r.end] for r in regions]  # noqa: E731
    return sample_windows(stretches, fetch, size=20, **kwargs)


def test_windows_are_sampled_by_length_and_depend_on_seed_and_index():
    sequences = [np.full(100, 0, np.uint8), np.full(400, 1, np.uint8), np.full(19, 2, np.uint8)]
    corpus = sample(sequences, n=2000, seed=3)
    assert len(corpus) == 2000
    assert all(len(window) == (19 if window[0] == 2 else 20) for window in corpus)
    for code, length in enumerate((100, 400, 19)):
        assert np.mean([window[0] == code for window in corpus]) == pytest.approx(length / 519, abs=0.04)
    source = [np.random.default_rng(0).integers(0, 4, size=500, dtype=np.uint8)]
    few, many = sample(source, n=5, seed=3), sample(source, n=9, seed=3)
    assert all(np.array_equal(few[i], many[i]) for i in range(5))
    assert not np.array_equal(sample(source, n=5, seed=4).codes, few.codes)


def test_every_place_of_a_stretch_is_drawn_alike_also_the_last():
    source = [np.arange(30, dtype=np.uint8) + 5, np.arange(100, 121, dtype=np.uint8)]
    starts = [int(window[0]) for window in sample(source, n=3000, seed=0)]
    assert set(starts) == {*range(5, 16), 100, 101}
    counts = np.bincount(starts)[5:16]
    assert counts == pytest.approx(3000 * 30 / 51 / 11, rel=0.3)


def test_windows_of_n_are_drawn_again():
    source = np.concatenate([np.full(900, N, np.uint8), np.zeros(100, np.uint8)])
    corpus = sample([source], n=50, seed=0)
    assert max(np.mean(window == N) for window in corpus) <= 0.1
    with pytest.raises(InputError, match="almost every window of the sequence is N"):
        sample([np.full(50, N, np.uint8)], n=3, seed=0)


def test_held_out_is_a_contig_or_a_part_of_it():
    assert held_by("chr8", ["chr20", "chr8"])
    assert held_by("chr8:1-2(+)", ["chr8"])
    assert not held_by("chr8_KI270811v1_alt", ["chr8"])
    assert not held_by("chr8", [])


def test_crops_are_in_place_and_of_every_length():
    codes = np.arange(30, dtype=np.uint8)
    crops = [crop(codes, np.random.default_rng(i), min_length=10) for i in range(400)]
    assert {len(c) for c in crops} == set(range(10, 31))
    assert all(np.array_equal(c, codes[c[0] : c[0] + len(c)]) for c in crops)
    assert {int(c[0]) for c in crops} >= set(range(15))
    rng = np.random.default_rng(0)
    assert crop(codes, rng, min_length=0) is codes
    assert crop(codes[:10], rng, min_length=10).tolist() == list(range(10))


def test_epochs_have_different_orders_and_seeds_too():
    stream = iter_steps(50, 50, seed=0)
    (_, first), (_, second) = next(stream), next(stream)
    assert not np.array_equal(first, second)
    assert sorted(first) == sorted(second) == list(range(50))
    assert not np.array_equal(next(iter_steps(50, 50, seed=1))[1], first)
