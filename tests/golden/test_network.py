"""Our network against exact outputs of the published one, formula B."""

import hashlib
import json

import numpy as np
import pytest
import torch
from published import EXACT, PUBLISHED_ORDER, formula_b, published_shapes

from findna.data.batch import pack
from findna.models.convert import read_checkpoint
from findna.nn.chordmixer import ChordMixer
from findna.nn.device import FP32
from findna.sequence import ALPHABET, BLANK, encode
from findna.sizes import ModelConfig

TINY = ModelConfig(channels=16, hidden=24, track_width=2, n_layers=2, max_len=74)
OURS = [PUBLISHED_ORDER.index(base) for base in ALPHABET]


def network_of(config, weights, folder):
    """The network of a training state as the published code writes it."""
    teacher = {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}
    student = {name: torch.zeros_like(value) for name, value in teacher.items()}
    torch.save({"Teacher": teacher, "Student": student, "EPOCHS_RUN": 29}, folder / "a.pt")
    tensors, _ = read_checkpoint(folder / "a.pt")
    network = ChordMixer(config)
    network.load_state_dict(tensors)
    return network.eval()


def run(network, codes, rings, *, n_blocks=None, precision):
    """Hidden states after a number of blocks, (positions, C)."""
    if n_blocks is not None:
        blocks, network.blocks = network.blocks, network.blocks[:n_blocks]
    try:
        with torch.no_grad():
            return network(torch.from_numpy(codes), rings, precision=precision)
    finally:
        if n_blocks is not None:
            network.blocks = blocks


@pytest.fixture(scope="module")
def tiny(shared):
    with np.load(shared / "golden" / "golden_tiny.npz") as file:
        return {key: file[key] for key in file if key.startswith("B/") or "/" not in key}


@pytest.mark.parametrize(("tag", "dtype", "limit"), [("out", torch.float32, 3e-5), ("out_f64", torch.float64, 1e-12)])
def test_tiny_network_gives_the_published_value_after_every_block(tiny, tmp_path, tag, dtype, limit):
    weights = {k.removeprefix("B/weights/"): v for k, v in tiny.items() if k.startswith("B/weights/")}
    network = network_of(TINY, weights, tmp_path).to(dtype)
    sequences = [encode(str(tiny["dna"]))[0]] * 2
    batch = pack([s.copy() for s in sequences], n_class_tokens=10)
    batch.codes[74 + 5 : 74 + 15] = BLANK  # row 1 has positions 5 to 14 masked

    expected = {0: tiny[f"B/{tag}/embedding"]}
    expected |= {1 + layer * 7 + b: tiny[f"B/{tag}/layer{layer}_block{b}"] for layer in range(2) for b in range(7)}
    for n_blocks, value in expected.items():
        hidden = run(network, batch.codes, batch.rings, n_blocks=n_blocks, precision=EXACT[dtype])
        np.testing.assert_allclose(hidden.reshape(2, 74, 16), value, rtol=0, atol=limit, err_msg=f"block {n_blocks}")

    hidden = run(network, batch.codes, batch.rings, precision=EXACT[dtype])
    np.testing.assert_allclose(hidden.reshape(2, 74, 16), tiny[f"B/{tag}/encoder"], rtol=0, atol=limit)
    logits = network.nucleotide_logits(hidden).detach().reshape(2, 74, 5)
    np.testing.assert_allclose(logits, tiny[f"B/{tag}/head"][..., OURS], rtol=0, atol=limit)


def test_last_track_may_be_narrower(tiny, tmp_path):
    config = ModelConfig(channels=16, hidden=24, track_width=3, n_layers=2, max_len=64)
    weights = {k.removeprefix("B/clf_weights/"): v for k, v in tiny.items() if k.startswith("B/clf_weights/")}
    del weights["decoder.weight"], weights["decoder.bias"]
    network = network_of(config, weights | {"linear.weight": np.zeros((5, 16)), "linear.bias": np.zeros(5)}, tmp_path)
    codes = np.tile(encode(str(tiny["dna"]))[0], 2)
    codes[64 + 5 : 64 + 15] = BLANK
    hidden = run(network, codes, np.array([0, 64, 128]), precision=FP32)
    np.testing.assert_allclose(hidden.reshape(2, 64, 16), tiny["B/clf_out/encoder"], rtol=0, atol=3e-5)


@pytest.fixture(scope="module")
def full(shared):
    return json.loads((shared / "golden" / "golden_full.json").read_text())


def test_published_size_and_names(full, shared):
    keys = json.loads((shared / "golden" / "state_dict_keys.json").read_text())
    assert [(name, tuple(shape)) for name, shape, _ in keys] == list(published_shapes(ModelConfig()))
    assert ModelConfig().n_parameters == full["formula_B"]["n_params"]
    assert sum(p.numel() for p in ChordMixer(ModelConfig()).parameters()) == full["formula_B"]["n_params"]


@pytest.mark.parametrize(("tag", "dtype", "limit"), [("f32", torch.float32, 5e-3), ("f64", torch.float64, 1e-9)])
def test_full_network_gives_the_published_values(full, tmp_path, tag, dtype, limit):
    weights = formula_b(ModelConfig())
    everything = b"".join(value.astype("<f4").tobytes() for value in weights.values())
    assert hashlib.sha256(everything).hexdigest() == full["formula_B"]["weight_all_sha256"]

    network = network_of(ModelConfig(), weights, tmp_path).to(dtype)
    golden = full["formula_B"][tag]
    codes, _ = encode(full["dna"])
    batch = pack([codes], n_class_tokens=10)
    for layer, (mean, sd) in enumerate(golden["layer_mean_std"], start=1):
        with torch.no_grad():
            hidden = network(torch.from_numpy(batch.codes), batch.rings, blocks=[layer * 10], precision=EXACT[dtype])
        assert [float(hidden.mean()), float(hidden.std())] == pytest.approx([mean, sd], abs=limit)
    logits = network.nucleotide_logits(hidden).detach()
    for key, values in golden["encoder_first10"].items():
        position = {"pos0": 0, "pos500": 500, "cls0_pos1000": 1000, "cls9_pos1009": 1009}[key]
        assert hidden[position, :10].tolist() == pytest.approx(values, abs=limit)
        assert hidden[position, -10:].tolist() == pytest.approx(golden["encoder_last10"][key], abs=limit)
        expected = [golden["head_values"][key][channel] for channel in OURS]
        assert logits[position].tolist() == pytest.approx(expected, abs=limit)
    figures = [float(f(hidden)) for f in (torch.mean, torch.std, torch.min, torch.max)]
    assert figures == pytest.approx([golden["encoder"][key] for key in ("mean", "std", "min", "max")], abs=limit)
    assert float(hidden[1000:].std()) == pytest.approx(golden["encoder_CLS_only"]["std"], abs=limit)
    assert hidden[:, :10].mean(0).tolist() == pytest.approx(golden["mean_pool_first10"], abs=limit)
