"""Impulse response: which input positions reach h[t] after some blocks, for rings of any length."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from findna.nn.chordmixer import ChordMixer, initialise
from findna.sizes import SHIFT_LAYOUTS, SIZES, ModelConfig

MODEL = ModelConfig(channels=22, hidden=8, track_width=2, n_layers=2, max_len=16, n_class_tokens=1)


def offsets_by_definition(model, n_blocks, length):
    """Offsets o, modulo the ring, such that h[t] depends on input t + o: each block adds its shifts to them."""
    reached = {0}
    for block in range(n_blocks):
        reached |= {(offset + shift) % length for offset in reached for shift in model.tracks(block).shifts}
    return reached


def measured_offsets(network, n_blocks, length, position):
    """The same, by changing the base at one position."""
    codes = torch.zeros(2 * length, dtype=torch.uint8)  # a second ring shows that none is reached from another
    changed = codes.clone()
    changed[position] = 2
    rings = np.array([0, length, 2 * length])
    with torch.no_grad():
        before, after = (network(each, rings, blocks=(n_blocks,)) for each in (codes, changed))
    is_reached = (before != after).any(dim=1)
    assert not is_reached[length:].any()
    return {int(position - t) % length for t in torch.nonzero(is_reached[:length]).flatten()}


@pytest.mark.parametrize("layout", SHIFT_LAYOUTS)
@given(length=st.integers(1, 90), n_blocks=st.integers(0, 3), position=st.integers(0, 89))
@settings(max_examples=15)
def test_what_reaches_a_position_is_what_the_shifts_say(layout, length, n_blocks, position):
    model = dataclasses.replace(MODEL, shift_layout=layout)
    network = initialise(ChordMixer(model), 5).double()
    found = measured_offsets(network, n_blocks, length, position % length)
    assert found == offsets_by_definition(model, n_blocks, length)


def test_the_published_layout_reaches_the_left_neighbour_only_around_the_ring():
    model = ModelConfig()
    assert -1 % 1010 not in offsets_by_definition(model, 6, 1010)
    assert -1 % 1010 in offsets_by_definition(model, 7, 1010)
    assert 1 in offsets_by_definition(model, 1, 1010)


@pytest.mark.parametrize("layout", ["two-sided", "mixed"])
@pytest.mark.parametrize("size", SIZES)
def test_a_two_sided_layout_reaches_as_far_to_the_left_as_to_the_right(layout, size):
    model = dataclasses.replace(SIZES[size], shift_layout=layout)
    for n_blocks in (1, 2, 3):
        reached = offsets_by_definition(model, n_blocks, 100_000)
        assert reached == {-offset % 100_000 for offset in reached}


@pytest.mark.parametrize(("layout", "size"), [("two-sided", "small"), ("two-sided", "base"), ("mixed", "tiny")])
def test_all_blocks_together_cover_a_window_from_any_position(layout, size):
    model = dataclasses.replace(SIZES[size], shift_layout=layout)
    assert offsets_by_definition(model, model.depth, model.max_len) == set(range(model.max_len))
