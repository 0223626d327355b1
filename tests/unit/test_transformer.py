"""FinDNA-T: counted, alone in its ring, against a slow loop, stored, embedded with and trained like a ChordMixer."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from findna.config import EmbedConfig
from findna.data.batch import pack
from findna.embedding import RecordEmbedder
from findna.errors import ConfigError
from findna.models.folders import read_config
from findna.models.store import load_model, save_model, verify_model
from findna.nn.chordmixer import ChordMixer
from findna.nn.device import BF16, FP32, Compute
from findna.nn.encoder import initialise
from findna.nn.mixers import make_encoder
from findna.nn.transformer import Transformer
from findna.recipes import PRESETS, FinetuneConfig
from findna.record import Record
from findna.sizes import SIZES, ModelConfig
from findna.train.start import make_network

MODEL = ModelConfig(channels=8, hidden=12, track_width=4, n_layers=2, max_len=40, n_class_tokens=2, mixer="transformer")


@pytest.fixture
def network():
    return initialise(make_encoder(MODEL), 3)


def random_sequences(*lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 6, n, dtype=np.uint8) for n in lengths]


def outputs(network, sequences, **kwargs):
    batch = pack(sequences, n_class_tokens=2)
    with torch.no_grad():
        return network(torch.from_numpy(batch.codes), batch.rings, **kwargs)


@pytest.mark.parametrize("size", SIZES)
def test_as_many_parameters_as_the_chordmixer_of_that_size(size):
    config = SIZES[size].as_transformer()
    network = make_encoder(config)
    assert isinstance(network, Transformer)
    assert config.n_parameters == sum(p.numel() for p in network.parameters())
    assert config.n_parameters == pytest.approx(SIZES[size].n_parameters, rel=0.001)
    assert (config.channels, config.window, config.n_class_tokens) == (SIZES[size].channels, 1000, 10)


def slow_norm(row, weight):
    scale = math.sqrt(sum(value * value for value in row) / len(row) + 1e-6)
    return [value / scale * w for value, w in zip(row, weight, strict=True)]


def slow_linear(layer, rows):
    weight, bias = layer.weight.tolist(), layer.bias.tolist()
    return [[sum(w * x for w, x in zip(ws, row, strict=True)) + b for ws, b in zip(weight, bias, strict=True)]
            for row in rows]  # fmt: skip


def slow_turn(row, position):
    """Channels i and i + half of a head turn by position * 10000 ** (-2 i / width)."""
    half = len(row) // 2
    out = [0.0] * len(row)
    for i in range(half):
        angle = position * 10_000.0 ** (-2 * i / len(row))
        a, b = row[i], row[i + half]
        out[i], out[i + half] = a * math.cos(angle) - b * math.sin(angle), a * math.sin(angle) + b * math.cos(angle)
    return out


def slow_attention(attention, rows):
    channels, width = len(rows[0]), attention.head_width
    qkv = slow_linear(attention.qkv, rows)
    seen = [[] for _ in rows]
    for first in range(0, channels, width):
        q, k, v = ([row[part * channels + first : part * channels + first + width] for row in qkv] for part in range(3))
        q, k = ([slow_turn(row, t) for t, row in enumerate(part)] for part in (q, k))
        for t, row in enumerate(q):
            scores = [math.exp(sum(a * b for a, b in zip(row, key, strict=True)) / math.sqrt(width)) for key in k]
            for c in range(width):
                mixed = sum(score * value[c] for score, value in zip(scores, v, strict=True))
                seen[t].append(mixed / sum(scores))
    return slow_linear(attention.out, seen)


def slow_forward(network, codes):
    weight, bias = network.stem.weight.tolist(), network.stem.bias.tolist()
    h = [[(weight[c][code] if code < 5 else 0.0) + bias[c] for c in range(len(bias))] for code in codes]
    for block in network.blocks:
        for norm, part in ((block.norm1, "attention"), (block.norm2, "mlp")):
            x = [slow_norm(row, norm.weight.tolist()) for row in h]
            if part == "attention":
                update = slow_attention(block.attention, x)
            else:
                inner = [[v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in row] for row in slow_linear(block.fc1, x)]
                update = slow_linear(block.fc2, inner)
            h = [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(h, update, strict=True)]
    return np.array(h)


def test_the_network_is_the_slow_loop(network):
    with torch.no_grad():
        for block in network.blocks:
            block.norm1.weight.uniform_(0.5, 1.5)
    sequences = random_sequences(5, 9, 9)
    found = outputs(network, sequences).numpy()
    first = 0
    for sequence in sequences:
        codes = [*sequence.tolist(), 5, 5]
        np.testing.assert_allclose(found[first : first + len(codes)], slow_forward(network, codes), atol=2e-5)
        first += len(codes)


@pytest.mark.parametrize("precision", [FP32, BF16])
def test_a_sequence_does_not_depend_on_its_neighbours(network, precision):
    lengths = (30, 1, 17, 17, 17, 38, 2)
    sequences = random_sequences(*lengths)
    together = outputs(network, sequences, precision=precision)
    first = 0
    for sequence in sequences:
        alone = outputs(network, [sequence], precision=precision)
        own = together[first : first + len(alone)]
        if precision == FP32:
            assert (alone - own).abs().max() <= 1e-5 * own.abs().max()
        else:
            assert torch.cosine_similarity(alone.flatten(), own.flatten(), dim=0) >= 0.9999
        first += len(alone)


def test_order_matters_to_it(network):
    (sequence,) = random_sequences(20)
    means = [outputs(network, [codes])[:20].mean(0) for codes in (sequence, sequence[::-1].copy())]
    assert (means[0] - means[1]).abs().max() > 1e-4
    tokens = outputs(network, [sequence])[20:]
    assert (tokens[0] - tokens[1]).abs().max() > 1e-4


def test_blocks_and_noise_are_read_as_of_a_chordmixer(network):
    sequences = random_sequences(6, 4)
    stem = outputs(network, sequences, blocks=[0])
    expected = torch.nn.functional.pad(network.stem.weight, (0, 1)).T[sequences[0].tolist()] + network.stem.bias
    assert torch.allclose(stem[:6], expected)
    last = outputs(network, sequences)
    assert torch.equal(outputs(network, sequences, blocks=[0, 2]), torch.cat([stem, last], dim=1))
    with pytest.raises(ValueError, match="must increase, and lie in 0 to 2"):
        outputs(network, sequences, blocks=[3])
    noise = torch.randn(14, 5, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(
        outputs(network, sequences, blocks=[0], noise=noise), stem + noise @ network.stem.weight.T, atol=1e-6
    )


def test_dropout_is_for_training_alone(network):
    (sequence,) = random_sequences(30)
    assert torch.equal(outputs(network, [sequence], dropout=0.5), outputs(network, [sequence]))
    batch = pack([sequence], n_class_tokens=2)
    dropped = network(torch.from_numpy(batch.codes), batch.rings, dropout=0.5)
    assert (dropped - outputs(network, [sequence])).abs().max() > 0.01


def test_it_is_stored_verified_and_embedded_with(tmp_path, network):
    save_model(tmp_path / "t", network, name="t", training={}, card="# t\n")
    assert read_config(tmp_path / "t")["model"]["mixer"] == "transformer"
    model = load_model(str(tmp_path / "t"))
    assert isinstance(model.network, Transformer)
    assert all(ok for _, ok, _ in verify_model(model))
    assert all(ok for _, ok, _ in verify_model(model, precision=BF16))
    records = [Record(f"s{i}", codes, 0, i, "made") for i, codes in enumerate(random_sequences(90, 12, 38))]
    embedder = RecordEmbedder(model.network, EmbedConfig(), compute=Compute(torch.device("cpu"), FP32))
    (rows,) = embedder.embed(records)
    windows = [outputs(model.network, [records[0].codes[a:b]])[: b - a] for a, b in ((0, 38), (38, 76), (52, 90))]
    own = torch.cat([windows[0], windows[1], windows[2][24:]])  # the last window lies flush with the end
    np.testing.assert_allclose(rows.x[0], own.mean(0), atol=1e-5)


def test_an_older_config_without_the_field_is_a_chordmixer():
    stored = {"channels": 12, "hidden": 16, "track_width": 2, "n_layers": 1, "max_len": 64, "n_class_tokens": 2}
    config = ModelConfig.from_dict(stored)
    assert isinstance(make_encoder(config), ChordMixer)
    assert config.to_dict() == stored
    assert ModelConfig.from_dict(MODEL.to_dict()) == MODEL


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mixer": "mamba"}, "mixer must be chordmixer or transformer, not 'mamba'"),
        ({"track_width": 3}, "heads of 3 channels must be even and divide the 8"),
        ({"channels": 10}, "heads of 4 channels must be even and divide the 10"),
        ({"extended_len": 80}, "extended_len is for a chordmixer"),
    ],
)
def test_sizes_that_make_no_transformer_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(MODEL, **change)


def test_an_odd_width_has_no_transformer():
    with pytest.raises(ConfigError, match="a transformer's 15 channels must be even"):
        dataclasses.replace(PRESETS["tiny"].model, channels=15).as_transformer()


def test_it_cannot_be_extended(network):
    assert isinstance(make_network(FinetuneConfig(), network), Transformer)
    with pytest.raises(ConfigError, match="extend adds blocks to a chordmixer, and this teacher is a transformer"):
        make_network(FinetuneConfig(extend=100), network)
