"""The blocks on a GPU against those of the CPU.

These tests need torch, numpy, h5py, pysam, biopython and pytest: `python -m pytest -o addopts= tests/gpu`.
"""

import kernel_cases as cases
import numpy as np
import pytest
import torch

from findna.data.batch import pack
from findna.models.convert import read_checkpoint
from findna.nn import kernels
from findna.nn.chordmixer import ChordMixer
from findna.nn.device import BF16, BF16_STREAM, FP32
from findna.sequence import BLANK, encode
from findna.sizes import ModelConfig

CUDA = torch.device("cuda")
LIMIT = {FP32: 1e-5, BF16: 0.03, BF16_STREAM: 0.03}
"""Of hidden states and gradients: norm of the difference over the norm."""

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    pytest.mark.filterwarnings("default"),  # compilers advise
]


@pytest.mark.parametrize("precision", LIMIT)
@pytest.mark.parametrize("way", ["triton", "compile", "plain"])
@pytest.mark.parametrize("case", cases.NETWORKS)
def test_a_gpu_gives_the_values_and_gradients_of_a_cpu(case, way, precision):
    found = cases.differences(case, way, device="cuda", precision=precision, with_noise=case == "tiny")
    assert max(found.values()) < LIMIT[precision], found


@pytest.mark.parametrize("precision", LIMIT)
@pytest.mark.parametrize("way", ["triton", "compile", "plain"])
def test_a_sequence_has_the_same_hidden_states_in_any_batch_on_a_gpu(way, precision):
    for alone, together in cases.alone_and_together("published width", way, device="cuda", precision=precision):
        if precision == FP32:
            assert np.abs(alone - together).max() <= 1e-5 * np.abs(together).max()
        else:
            a, b = alone.ravel().astype(float), together.ravel().astype(float)
            assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) >= 0.9999


@pytest.mark.parametrize("way", ["triton", "compile"])
def test_the_same_batch_gives_the_same_bits_on_a_gpu(way):
    first, second = (cases.values_of("published width", way, device="cuda", precision=BF16) for _ in range(2))
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


@pytest.mark.parametrize("is_training", [False, True])
def test_every_way_works_on_an_able_gpu(is_training, monkeypatch):
    for way in kernels.WAYS:
        monkeypatch.setenv("FINDNA_KERNELS", way)
        for precision in LIMIT if torch.cuda.get_device_capability() >= (8, 0) else [FP32]:
            choice = kernels.choose(ModelConfig(), device=CUDA, precision=precision, is_training=is_training)
            assert choice == (way, {})


@pytest.mark.parametrize("precision", LIMIT)
@pytest.mark.parametrize("way", ["triton", "compile", "plain"])
def test_every_way_drops_the_same_values_on_a_gpu(way, precision):
    found = cases.differences("published width", way, device="cuda", precision=precision, dropout=0.3)
    assert max(found.values()) < LIMIT[precision], found


@pytest.mark.parametrize("way", ["triton", "compile", "plain"])
def test_a_gpu_gives_the_published_hidden_states(way, shared, tmp_path, monkeypatch):
    monkeypatch.setenv("FINDNA_KERNELS", way)
    with np.load(shared / "golden" / "golden_tiny.npz") as file:
        dna, expected = str(file["dna"]), file["B/out/encoder"]
        weights = {k.removeprefix("B/weights/"): v for k, v in file.items() if k.startswith("B/weights/")}
    torch.save({name: torch.from_numpy(np.array(value)) for name, value in weights.items()}, tmp_path / "a.pt")
    tensors, _ = read_checkpoint(tmp_path / "a.pt")
    network = ChordMixer(ModelConfig(channels=16, hidden=24, track_width=2, n_layers=2, max_len=74))
    network.load_state_dict(tensors)
    batch = pack([encode(dna)[0]] * 2, n_class_tokens=10)
    batch.codes[74 + 5 : 74 + 15] = BLANK
    with torch.no_grad():
        hidden = network.to(CUDA)(torch.from_numpy(batch.codes).to(CUDA), batch.rings)
    np.testing.assert_allclose(hidden.cpu().reshape(2, 74, 16), expected, rtol=0, atol=1e-4)
