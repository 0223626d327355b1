"""Longer rings: added blocks change nothing until they are trained, and then reach as far as the ring."""

import dataclasses

import numpy as np
import pytest
import torch

from findna.data.batch import pack
from findna.errors import ConfigError
from findna.nn.chordmixer import ChordMixer, extended, initialise
from findna.sizes import SIZES, ModelConfig

SMALL = ModelConfig(channels=12, hidden=8, track_width=2, n_layers=2, max_len=32, n_class_tokens=2)


def outputs(network, sequences, *, n_class_tokens=2):
    batch = pack(sequences, n_class_tokens=n_class_tokens)
    with torch.no_grad():
        return network(torch.from_numpy(batch.codes), batch.rings)


def random_sequences(*lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 5, n, dtype=np.uint8) for n in lengths]


@pytest.mark.parametrize("n_class_tokens", [2, 0])
def test_the_function_starts_unchanged_at_any_length(n_class_tokens):
    network = initialise(ChordMixer(SMALL), 3)
    longer = extended(network, 200)
    assert (longer.config.n_blocks, longer.config.n_added, len(longer.blocks)) == (8, 3, 16)
    for lengths in [(1,), (5, 30), (33, 7, 33), (198, 64, 500)]:
        sequences = random_sequences(*lengths)
        found = outputs(longer, sequences, n_class_tokens=n_class_tokens)
        assert torch.equal(found, outputs(network, sequences, n_class_tokens=n_class_tokens))


@pytest.mark.parametrize(("size", "max_len", "width", "n_tracks"), [("base", 8202, 21, 15), ("small", 4106, 11, 14)])
def test_added_tracks_have_their_own_width_and_reach_half_the_ring(size, max_len, width, n_tracks):
    config = dataclasses.replace(SIZES[size], extended_len=max_len)
    added = config.tracks(config.n_blocks - 1)
    assert added.width == width
    assert len(added.shifts) == n_tracks
    assert abs(added.shifts[-1]) == 2 ** (config.n_blocks - 1)
    assert config.n_parameters == sum(p.numel() for p in ChordMixer(config).parameters())


def test_fewer_tracks_still_reach_half_the_ring():
    config = dataclasses.replace(SMALL, channels=6, extended_len=4096)
    assert config.n_blocks == 12
    added = config.tracks(11).shifts
    assert added[0] == 0
    assert added[-1] == 2**11


def test_added_blocks_of_our_own_layouts_look_to_both_sides_in_turn():
    config = dataclasses.replace(SMALL, extended_len=512, shift_layout="two-sided")
    added = [block for block in range(config.depth) if block % config.n_blocks >= config.n_blocks - config.n_added]
    last = [config.tracks(block).shifts[-1] for block in added]
    assert last == [-256, 256, -256, 256, 256, -256, 256, -256]


def test_a_trained_added_block_carries_a_base_farther_than_the_teacher_s_blocks():
    network = initialise(ChordMixer(dataclasses.replace(SMALL, n_layers=1)), 1)
    longer = extended(network, 514)
    (sequence,) = random_sequences(512)
    changed = sequence.copy()
    changed[0] = (changed[0] + 1) % 4

    def reach(net):
        difference = (outputs(net, [changed]) - outputs(net, [sequence])).abs().amax(1)
        return int((-torch.nonzero(difference > 0) % len(difference)).max())  # a ring is read against its sense

    assert reach(longer) == reach(network)
    before = reach(network)
    with torch.no_grad():
        for block in longer.blocks[network.config.n_blocks :]:
            block.fc2.weight.normal_(generator=torch.Generator().manual_seed(0))
    assert reach(longer) >= 500 > before


def test_a_ring_that_fits_is_not_extended():
    network = initialise(ChordMixer(SMALL), 3)
    assert extended(network, 32) is network
    once = extended(network, 100)
    with pytest.raises(ValueError, match="already extended"):
        extended(once, 400)
    with pytest.raises(ConfigError, match="extended_len 32 must be 0 or above max_len 32"):
        dataclasses.replace(SMALL, extended_len=32)


def test_a_config_without_an_extension_is_written_as_before():
    assert "extended_len" not in SMALL.to_dict()
    longer = dataclasses.replace(SMALL, extended_len=100)
    assert ModelConfig.from_dict(longer.to_dict()) == longer
    assert ModelConfig.from_dict(SMALL.to_dict()) == SMALL
