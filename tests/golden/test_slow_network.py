"""Our network against a slow loop, position by position, written from its equations in float64."""

import math

import numpy as np
import pytest
import torch
from published import EXACT

from findna.data.batch import pack
from findna.nn.chordmixer import ChordMixer, initialise
from findna.sequence import BLANK
from findna.sizes import SHIFT_LAYOUTS, ModelConfig

FLOAT64 = EXACT[torch.float64]


def slow_shift(layout, block, track):
    """Shift of a track by the definitions of DESIGN: written as a rule per track, not as a list."""
    power = 0 if track == 0 else 2 ** (track - 1)
    if layout == "published" or track == 0:
        return power
    if layout == "alternating":
        return power if block % 2 == 0 else -power
    distances = [1, 16, 64, 128, 256] if layout == "mixed" and block % 2 == 1 else [1, 2, 4, 8, 32]
    return distances[(track - 1) // 2] * (1 if track % 2 == 1 else -1)


def slow_forward(network, sequence, noise=None, *, n_blocks=None):
    """Hidden states (L, C) of one ring: E[t] = W_e x[t] + b_e, then h[t, c] += z[(t + s(c)) mod L, c] a block."""
    config = network.config
    weights = {name: value.detach().double().numpy() for name, value in network.state_dict().items()}
    length = len(sequence)
    h = np.zeros((length, config.channels))
    for t, code in enumerate(sequence):
        x = np.zeros(5)
        if code != BLANK:
            x[code] = 1.0
        if noise is not None:
            x = x + noise[t]
        h[t] = weights["stem.weight"] @ x + weights["stem.bias"]
    in_all = config.n_layers * math.ceil(math.log2(config.max_len))
    for block in range(in_all if n_blocks is None else n_blocks):
        w1, b1, w2, b2 = (weights[f"blocks.{block}.{name}"] for name in
                          ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"))  # fmt: skip
        z = np.zeros_like(h)
        for t in range(length):
            inner = w1 @ h[t] + b1
            inner = np.array([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in inner])
            z[t] = w2 @ inner + b2
        new = h.copy()
        for t in range(length):
            for c in range(config.channels):
                shift = slow_shift(config.shift_layout, block, c // config.track_width)
                new[t, c] = h[t, c] + z[(t + shift) % length, c]
        h = new
    return h


CONFIGS = [
    ModelConfig(channels=10, hidden=7, track_width=3, n_layers=2, max_len=8, n_class_tokens=2),  # last track: 1 of 3
    ModelConfig(channels=12, hidden=5, track_width=2, n_layers=1, max_len=16, n_class_tokens=1),  # shifts to 16
    *(
        ModelConfig(channels=11, hidden=5, track_width=2, n_layers=1, max_len=16, n_class_tokens=1, shift_layout=layout)
        for layout in SHIFT_LAYOUTS
    ),
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("with_noise", [False, True])
def test_packed_rings_of_any_length_are_as_the_equations_say(config, with_noise):
    network = initialise(ChordMixer(config), 3).double()
    rng = np.random.default_rng(1)
    # Neighbours of equal length, one base, lengths that are at and below the largest shift.
    sequences = [rng.integers(0, 6, size=n).astype(np.uint8) for n in (6, 6, 1, 3, 15, 14, 14, 2)]
    batch = pack(sequences, n_class_tokens=config.n_class_tokens)
    noise = rng.normal(size=(len(batch.codes), 5)) if with_noise else None
    with torch.no_grad():
        found = network(
            torch.from_numpy(batch.codes),
            batch.rings,
            noise=None if noise is None else torch.from_numpy(noise),
            precision=FLOAT64,
        ).numpy()
    for start, end in zip(batch.rings[:-1], batch.rings[1:], strict=True):
        own = None if noise is None else noise[start:end]
        expected = slow_forward(network, batch.codes[start:end], own)
        np.testing.assert_allclose(found[start:end], expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def test_hidden_states_are_read_after_any_blocks_side_by_side():
    config = CONFIGS[0]
    network = initialise(ChordMixer(config), 5).double()
    sequence = np.array([0, 1, 2, 3, 4, 5, 5], np.uint8)
    n_blocks = len(network.blocks)
    each = [slow_forward(network, sequence, n_blocks=n) for n in range(n_blocks + 1)]
    for blocks in ([0], [1], [n_blocks], [0, 1, n_blocks], range(n_blocks + 1)):
        expected = np.concatenate([each[n] for n in blocks], axis=1)
        for is_training in (False, True):
            with torch.set_grad_enabled(is_training):
                found = network(torch.from_numpy(sequence), np.array([0, 7]), blocks=blocks, precision=FLOAT64)
            np.testing.assert_allclose(found.detach(), expected, rtol=0, atol=1e-12)
    for blocks in ([n_blocks + 1], [-1], [2, 1], [1, 1]):
        with pytest.raises(ValueError, match=f"must increase, and lie in 0 to {n_blocks}"):
            network(torch.from_numpy(sequence), np.array([0, 7]), blocks=blocks)


def test_training_forward_is_the_inference_forward():
    config = CONFIGS[0]
    network = initialise(ChordMixer(config), 7)
    codes, rings = torch.tensor([0, 1, 2, 5, 3, 3, 2, 1, 5], dtype=torch.uint8), np.array([0, 4, 9])
    trained = network(codes, rings)
    assert trained.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(network(codes, rings), trained.detach(), rtol=0, atol=1e-6)


def test_gradient_of_the_network_is_that_of_the_equations():
    """Every weight's gradient against central differences of the slow loop."""
    config = ModelConfig(channels=5, hidden=3, track_width=2, n_layers=1, max_len=4, n_class_tokens=1)
    network = initialise(ChordMixer(config), 2).double()
    codes = np.array([0, 3, 5, 1, 2, 5], np.uint8)
    rings, weight = np.array([0, 3, 6]), np.random.default_rng(0).normal(size=(6, 5))

    def slow_loss():
        parts = [slow_forward(network, codes[:3]), slow_forward(network, codes[3:])]
        return float((np.concatenate(parts) * weight).sum())

    loss = (network(torch.from_numpy(codes), rings, precision=FLOAT64) * torch.from_numpy(weight)).sum()
    loss.backward()
    assert float(loss.detach()) == pytest.approx(slow_loss(), abs=1e-12)
    step = 1e-5
    for name, parameter in network.named_parameters():
        if name.startswith("head"):
            continue
        flat = parameter.data.view(-1)
        for index in range(0, len(flat), 3):
            value = float(flat[index])
            flat[index] = value + step
            above = slow_loss()
            flat[index] = value - step
            below = slow_loss()
            flat[index] = value
            expected = (above - below) / (2 * step)
            assert float(parameter.grad.view(-1)[index]) == pytest.approx(expected, abs=1e-7), f"{name}[{index}]"
