"""Learning rate and momentum over a run."""

import math

import pytest

from findna.train.schedule import cosine, learning_rate


def test_warm_up_is_linear_and_the_rest_a_cosine_to_0():
    peak = 3e-4
    assert learning_rate(0.0, peak=peak, warmup=0.3) == 0.0
    assert learning_rate(0.1, peak=peak, warmup=0.3) == pytest.approx(peak / 3)
    assert learning_rate(0.65, peak=peak, warmup=0.3) == pytest.approx(peak / 2)
    expected = peak * (1 + math.cos(math.pi * 0.1 / 0.7)) / 2
    assert learning_rate(0.4, peak=peak, warmup=0.3) == pytest.approx(expected)
    assert learning_rate(1.0, peak=peak, warmup=0.3) == pytest.approx(0, abs=1e-18)


def test_warm_up_may_be_nothing_or_everything():
    assert learning_rate(0.0, peak=2.0, warmup=0.0) == 2.0
    assert learning_rate(0.5, peak=2.0, warmup=1.0) == 1.0
    assert learning_rate(1.0, peak=2.0, warmup=1.0) == 0.0


def test_momentum_rises_to_1():
    values = [cosine(step / 10, 0.996, 1.0) for step in range(11)]
    assert values[0] == pytest.approx(0.996)
    assert values[5] == pytest.approx(0.998)
    assert values[10] == 1.0
    assert values == sorted(values)
    assert cosine(1.2, 0.996, 1.0) == 1.0
