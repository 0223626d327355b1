"""The corpus: sampling, held-out contigs, crops, order of the steps."""

import numpy as np
import pytest

from findna.data.datasets import corpus_of, crop, is_held_out, iter_steps, sample_windows
from findna.errors import InputError
from findna.sequence import N


def test_a_corpus_gives_its_windows_back():
    windows = [np.array(values, np.uint8) for values in ([0, 1, 2], [3], [4, 4])]
    corpus = corpus_of(iter(windows))
    assert len(corpus) == 3
    assert [corpus[i].tolist() for i in range(3)] == [[0, 1, 2], [3], [4, 4]]
    assert [window.tolist() for window in corpus] == [[0, 1, 2], [3], [4, 4]]
    assert len(corpus_of([])) == 0


def test_windows_are_sampled_uniformly_over_all_places_and_depend_on_seed_and_index():
    sequences = [np.full(100, 0, np.uint8), np.full(400, 1, np.uint8), np.full(19, 2, np.uint8)]
    corpus = sample_windows(sequences, n=2000, size=20, seed=3)
    assert len(corpus) == 2000
    assert all(len(window) == 20 for window in corpus)
    share = np.mean([window[0] == 0 for window in corpus])
    assert share == pytest.approx(81 / (81 + 381), abs=0.04)
    assert not any((window == 2).any() for window in corpus)
    source = [np.random.default_rng(0).integers(0, 4, size=500, dtype=np.uint8)]
    few, many = sample_windows(source, n=5, size=20, seed=3), sample_windows(source, n=9, size=20, seed=3)
    assert all(np.array_equal(few[i], many[i]) for i in range(5))
    assert not np.array_equal(sample_windows(source, n=5, size=20, seed=4).codes, few.codes)


def test_every_place_can_be_drawn_also_the_last():
    source = [np.arange(12, dtype=np.uint8), np.arange(100, 111, dtype=np.uint8)]
    starts = {int(window[0]) for window in sample_windows(source, n=300, size=10, seed=0)}
    assert starts == {0, 1, 2, 100, 101}


def test_windows_of_n_are_drawn_again():
    source = np.concatenate([np.full(900, N, np.uint8), np.zeros(100, np.uint8)])
    corpus = sample_windows([source], n=50, size=20, seed=0)
    assert max(np.mean(window == N) for window in corpus) <= 0.1


def test_short_sequences_are_taken_whole_if_none_is_longer():
    sequences = [np.zeros(5, np.uint8), np.ones(20, np.uint8), np.full(6, N, np.uint8)]
    corpus = sample_windows(sequences, n=1000, size=20, seed=0)
    assert [len(window) for window in corpus] == [5, 20]


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([], "there is no sequence to train on"),
        ([np.full(50, N, np.uint8)], "almost every window of the training sequence is N"),
        ([np.full(5, N, np.uint8)], "more than a tenth of every training sequence is N"),
    ],
)
def test_nothing_to_train_on_is_an_error(sequences, message):
    with pytest.raises(InputError, match=message):
        sample_windows(sequences, n=3, size=20, seed=0)


def test_held_out_is_a_contig_or_a_part_of_it():
    assert is_held_out("chr8", ["chr20", "chr8"])
    assert is_held_out("chr8:1-2(+)", ["chr8"])
    assert not is_held_out("chr8_KI270811v1_alt", ["chr8"])
    assert not is_held_out("chr8", [])


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
