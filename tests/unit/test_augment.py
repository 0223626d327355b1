"""The six augmentations: what each draws, and from which distribution."""

import collections

import numpy as np
import pytest

from findna.data import augment
from findna.recipes import PretrainConfig
from findna.sequence import BLANK, N, reverse_complement
from findna.sizes import ModelConfig

MODEL = ModelConfig(channels=4, hidden=4, track_width=2, n_layers=1, max_len=128, n_class_tokens=2)
ALL_N = np.full(100, N, np.uint8)  # random bases are never N, so they show


def rngs(n):
    return [np.random.default_rng((5, i)) for i in range(n)]


def test_deletion_removes_one_segment_and_fills_up_at_the_end():
    codes = np.arange(60, dtype=np.uint8) + 10
    starts = set()
    for rng in rngs(300):
        changed = augment.delete(codes, rng, max_length=20)
        length = int((changed < 10).sum())
        assert length <= 20
        start = int((changed[: 60 - length] == codes[: 60 - length]).sum())
        assert np.array_equal(changed[: 60 - length], np.delete(codes, np.s_[start : start + length]))
        assert (changed[60 - length :] < 4).all()
        starts.add(start)
    assert {0, 30} <= starts


def test_deleted_and_inserted_lengths_are_uniform_from_0_to_the_limit():
    deleted = collections.Counter()
    inserted = collections.Counter()
    for rng in rngs(4000):
        deleted[int((augment.delete(ALL_N, rng, max_length=4) != N).sum())] += 1
        is_new = augment.insert(np.concatenate([ALL_N, ALL_N]), rng, max_length=4)[:104] != N
        inserted[int(is_new.sum())] += 1
    assert sorted(deleted) == sorted(inserted) == [0, 1, 2, 3, 4]
    assert all(650 < count < 950 for count in deleted.values())  # 800 each
    assert inserted[4] > 250


def test_insertion_crops_at_the_end_and_leaves_the_front():
    codes = np.arange(60, dtype=np.uint8) + 10
    for rng in rngs(200):
        changed = augment.insert(codes, rng, max_length=20)
        is_new = changed < 10
        assert np.array_equal(changed[~is_new], codes[: int((~is_new).sum())])
        where = np.flatnonzero(is_new)
        assert len(where) == 0 or where[-1] - where[0] + 1 == len(where) <= 20


def test_translocation_swaps_the_halves_at_every_breakpoint():
    codes = np.arange(7, dtype=np.uint8)
    seen = {augment.translocate(codes, rng).tobytes() for rng in rngs(300)}
    assert seen == {np.concatenate([codes[k:], codes[:k]]).tobytes() for k in range(7)}


def test_noise_has_mean_0_and_the_stated_sd():
    config = PretrainConfig(noise_sd=0.2)
    noise = augment.make_views([np.zeros(20_000, np.uint8)], [np.random.default_rng(0)], config).noise[:20_000]
    assert noise.dtype == np.float32
    assert float(noise.mean()) == pytest.approx(0, abs=0.003)
    assert float(noise.std()) == pytest.approx(0.2, abs=0.003)


def test_masks_are_uniform_over_positions():
    counts = sum(augment.mask(ALL_N, rng, fraction=0.3).astype(int) for rng in rngs(1000))
    assert counts.sum() == 30 * 1000
    assert counts.min() > 230
    assert counts.max() < 370


def stretches_of(is_masked):
    """(start, length) of each run of masked positions."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_masked.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), (edges[1::2] - edges[::2]).tolist(), strict=True))


@pytest.mark.parametrize("mean_span", [1.5, 3, 6, 40])
def test_masks_in_stretches_have_the_same_share_and_the_stated_mean_length(mean_span):
    lengths, counts = [], np.zeros(100)
    for rng in rngs(600):
        is_masked = augment.mask(ALL_N, rng, fraction=0.3, mean_span=mean_span)
        assert is_masked.dtype == np.bool_
        assert (len(is_masked), is_masked.sum()) == (100, 30)
        counts += is_masked
        lengths += [length for _, length in stretches_of(is_masked)]
    assert np.mean(lengths) == pytest.approx(30 / max(1, round(30 / mean_span)), abs=1e-9)
    if mean_span < 30:
        assert {1, 2, 3} <= set(lengths)
        assert counts[10:90].min() > 0.2 * 600
        assert counts.max() < 0.4 * 600


def test_every_mask_of_two_stretches_is_equally_likely():
    """Four of six positions in two stretches: by hand, three ways to divide the four, and three to place them."""
    seen = collections.Counter(
        "".join("x" if masked else "." for masked in augment.mask(ALL_N[:6], rng, fraction=4 / 6, mean_span=2))
        for rng in rngs(3600)
    )
    ways = {
        place.format("x" * first, "x" * (4 - first)) for place in ("{}.{}.", ".{}.{}", "{}..{}") for first in (1, 2, 3)
    }
    assert set(seen) == ways
    assert all(320 < count < 480 for count in seen.values())  # 400 each


def test_stretches_of_masks_at_the_edges():
    for length, fraction, mean_span, n_masked in [(1, 0.3, 5, 0), (1, 1.0, 5, 1), (10, 1.0, 2, 10), (10, 0.9, 1.1, 9)]:
        for rng in rngs(20):
            is_masked = augment.mask(ALL_N[:length], rng, fraction=fraction, mean_span=mean_span)
            assert (len(is_masked), is_masked.sum()) == (length, n_masked)


def test_views_change_places_but_for_the_mask():
    codes = np.random.default_rng(1).integers(0, 4, size=50, dtype=np.uint8)
    settings = {"model": MODEL, "reverse_probability": 1.0}
    usual, swapped = (
        augment.make_views([codes, codes], rngs(2), PretrainConfig(**settings, **views))
        for views in ({}, {"student_augment": "MNR", "teacher_augment": "DIT"})
    )
    assert np.array_equal(swapped.masked, usual.masked)
    assert np.array_equal(swapped.targets, usual.teacher.codes[usual.masked])
    restored, unmasked = swapped.student.codes.copy(), usual.student.codes.copy()
    restored[swapped.masked], unmasked[usual.masked] = swapped.targets, usual.targets
    assert np.array_equal(restored, usual.teacher.codes)
    assert np.array_equal(unmasked, swapped.teacher.codes)
    assert not swapped.noise[swapped.masked].any()
    is_seen = np.ones(len(codes) * 2 + 4, dtype=np.bool_)
    is_seen[swapped.masked] = False
    assert np.array_equal(swapped.noise[is_seen], usual.noise[is_seen])
    assert usual.noise[usual.masked].any()


@pytest.mark.parametrize(("student", "teacher"), [("M", ""), ("M", "DIT"), ("MDT", "DIT"), ("MDIT", "NR")])
def test_each_view_has_the_augmentations_that_are_asked_for(student, teacher):
    codes = np.random.default_rng(1).integers(0, 4, size=50, dtype=np.uint8)
    config = PretrainConfig(
        model=MODEL, student_augment=student, teacher_augment=teacher, reverse_probability=1.0, max_indel=10
    )
    views = augment.make_views([codes], rngs(1), config)
    unmasked = views.student.codes.copy()
    unmasked[views.masked] = views.targets
    assert len(views.masked) == 15
    assert np.array_equal(unmasked[:50], codes) == (student == "M")
    assert np.array_equal(views.teacher.codes[:50], codes) == (teacher == "")
    assert np.array_equal(views.teacher.codes[:50], reverse_complement(codes)) == (teacher == "NR")
    assert views.noise.any() == ("N" in teacher)
    if student == "MDT":
        assert not np.array_equal(unmasked, views.teacher.codes)  # each view has draws of its own


def test_the_dissimilarity_of_two_views_is_equation_10_by_hand():
    config = PretrainConfig(model=MODEL, student_augment="M", teacher_augment="")
    views = augment.make_views([np.zeros(10, dtype=np.uint8)], rngs(1), config)
    one_hot = np.exp([1, 0, 0, 0, 0]) / (np.e + 4)  # softmax of a base
    expected = 0.3 * sum(0.2 * np.log(0.2 / p) for p in one_hot)  # a masked row is uniform; others are alike
    assert augment.dissimilarity(views, config) == pytest.approx(expected, rel=1e-6)


def test_dissimilarity_of_the_pairs_is_that_of_the_paper():
    codes = np.random.default_rng(1).integers(0, 4, size=(40, 300), dtype=np.uint8)
    found = []
    for student, teacher in (("M", ""), ("M", "DIT"), ("MDT", "DIT"), ("MDIT", "NR")):
        config = PretrainConfig(model=MODEL, student_augment=student, teacher_augment=teacher)
        found.append(augment.dissimilarity(augment.make_views(list(codes), rngs(40), config), config))
    assert found[0] == pytest.approx(0.025, abs=0.005)  # section 4.7
    assert found[3] == pytest.approx(0.175, abs=0.01)
    assert found[0] < min(found[1:3]) <= max(found[1:3]) < found[3]


def test_teacher_sees_the_sequence_or_its_reverse_complement_and_the_noise_turns_with_it():
    codes = np.random.default_rng(0).integers(0, 4, size=50, dtype=np.uint8)
    n_reversed = 0
    for index in range(200):
        views = {}
        for probability in (0.0, 0.5, 1.0):
            config = PretrainConfig(model=MODEL, reverse_probability=probability)
            views[probability] = augment.make_views([codes], [np.random.default_rng(index)], config)
        forward, drawn, reverse = views.values()
        assert np.array_equal(forward.teacher.codes[:50], codes)
        assert np.array_equal(reverse.teacher.codes[:50], reverse_complement(codes))
        complement = [3, 2, 1, 0, 4]  # A C G T N, by hand
        for t in (0, 17, 49):
            for channel in range(5):
                assert reverse.noise[t, channel] == forward.noise[49 - t, complement[channel]]
        assert not forward.noise[50:].any()
        assert not reverse.noise[50:].any()
        is_reversed = np.array_equal(drawn.teacher.codes, reverse.teacher.codes)
        assert is_reversed or np.array_equal(drawn.teacher.codes, forward.teacher.codes)
        n_reversed += is_reversed
    assert 70 < n_reversed < 130


def test_student_view_is_masked_last_and_the_targets_are_the_bases_before():
    config = PretrainConfig(model=MODEL, max_indel=0)
    codes = np.random.default_rng(1).integers(0, 5, size=50, dtype=np.uint8)
    views = augment.make_views([codes, codes], rngs(2), config)
    assert len(views.masked) == len(views.targets) == 2 * 15
    assert (views.student.codes[views.masked] == BLANK).all()
    restored = views.student.codes.copy()
    restored[views.masked] = views.targets
    turned = {np.roll(codes, k).tobytes() for k in range(50)}
    for start in (0, 52):
        assert restored[start : start + 50].tobytes() in turned
        assert (restored[start + 50 : start + 52] == BLANK).all()
    assert not np.array_equal(restored[:50], restored[52:102])
    assert np.array_equal(views.teacher.rings, views.student.rings)


def test_a_view_of_one_base_is_a_view():
    config = PretrainConfig(model=MODEL)
    views = augment.make_views([np.array([2], np.uint8)], rngs(1), config)
    assert len(views.student.codes) == 3
    assert len(views.masked) == 0
