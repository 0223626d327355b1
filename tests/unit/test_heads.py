"""Heads and features: their arithmetic against numpy, standardisation, gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from findna.config import POOLS
from findna.data.batch import pack
from findna.nn.heads import Head
from findna.nn.pooling import POOLINGS, gather, pool_features
from findna.sizes import n_features


def test_a_linear_head_is_its_formula():
    head = Head(3, 2)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    head.standardise(x * 4 + 2)
    expected = ((x - head.center) / head.scale) @ head.out.weight.T + head.out.bias
    assert torch.allclose(head(x), expected, atol=1e-6)


def test_standardised_features_have_mean_zero_and_spread_one():
    rng = np.random.default_rng(0)
    rows, weights = rng.normal(3, 7, (50, 4)), rng.uniform(0.1, 2, 50)
    rows[:, 2] = 5.0
    head = Head(4, 1)
    head.standardise(torch.from_numpy(rows), torch.from_numpy(weights))
    z = (rows - head.center.numpy()) / head.scale.numpy()
    assert np.average(z, axis=0, weights=weights) == pytest.approx([0] * 4, abs=1e-5)
    assert np.average(z**2, axis=0, weights=weights) == pytest.approx([1, 1, 0, 1], abs=1e-4)
    assert head.scale[2] == 1  # a constant feature is not blown up


def test_a_rescaled_head_gives_its_outputs_in_another_unit():
    head, x = Head(3, 1, hidden=4), torch.randn(6, 3)
    before = head(x)
    head.rescale(mean=10.0, sd=3.0)
    assert torch.allclose(head(x), before * 3 + 10, atol=1e-5)


def test_dropout_acts_in_training_alone():
    head, x = Head(40, 2, hidden=8, dropout=0.5), torch.randn(3, 40)
    head.eval()
    assert torch.equal(head(x), head(x))
    head.train()
    assert not torch.equal(head(x), head(x))


def batch_of(lengths, n_class_tokens, channels=4, seed=0):
    rng = np.random.default_rng(seed)
    batch = pack([rng.integers(0, 4, n, dtype=np.uint8) for n in lengths], n_class_tokens=n_class_tokens)
    hidden = torch.from_numpy(rng.normal(size=(int(batch.rings[-1]), channels)).astype(np.float32))
    return batch, hidden


def test_features_are_those_of_each_ring_s_own_bases():
    batch, hidden = batch_of([5, 3, 7], 2)
    own = [(2, 5), (7, 10), (12, 19)]  # the first ring's first two bases belong to another window
    found = pool_features(hidden, batch.rings, own, pools=("max", "cls", "mean", "min", "sd"), n_class_tokens=2)
    assert found.shape == (3, n_features(("max", "cls", "mean", "min", "sd"), channels=4, n_class_tokens=2))
    for row, (start, end), ring_end in zip(found, own, batch.rings[1:].tolist(), strict=True):
        h = hidden.numpy()
        expected = [h[start:end].max(0), h[ring_end - 2 : ring_end].ravel(), h[start:end].mean(0)]
        expected += [h[start:end].min(0), h[start:end].std(0)]
        assert row.numpy() == pytest.approx(np.concatenate(expected), abs=1e-6)


def test_features_without_class_tokens_need_none():
    batch, hidden = batch_of([4, 4], 0)
    found = pool_features(hidden, batch.rings, [(0, 4), (4, 8)], pools=("mean",), n_class_tokens=0)
    assert torch.allclose(found, torch.stack([hidden[:4].mean(0), hidden[4:].mean(0)]))


def test_the_gradient_of_features_is_that_of_finite_differences():
    batch, hidden = batch_of([3, 4], 1, channels=2)
    own = [(1, 3), (4, 8)]
    hidden = hidden.double().requires_grad_()

    def features(h):
        return pool_features(h, batch.rings, own, pools=POOLS, n_class_tokens=1)

    assert torch.autograd.gradcheck(features, (hidden,))


@given(sizes=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), min_size=1, max_size=6), seed=st.integers(0, 99))
@pytest.mark.parametrize("pool", [pool for pool in POOLS if pool != "cls"])
def test_a_gpu_s_way_to_pool_gives_what_a_window_after_the_other_does(pool, sizes, seed):
    own, position = [], 0
    for n_before, n_own in sizes:
        own.append((position + n_before, position + n_before + n_own))
        position += n_before + n_own
    hidden = torch.from_numpy(np.random.default_rng(seed).normal(size=(position + seed % 2, 3)))
    flat = torch.tensor([size for pair in sizes for size in pair] + [seed % 2])
    found = POOLINGS[pool].by_segments(hidden, flat)[1::2]
    (expected,) = gather(hidden, np.array([0, len(hidden)]), own, pools=[pool], n_class_tokens=0)
    torch.testing.assert_close(found, expected)


def test_every_pool_of_the_config_is_in_the_table():
    assert tuple(POOLINGS) == POOLS
