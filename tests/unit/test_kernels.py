"""The blocks as a GPU computes them against those of the CPU: by Triton's interpreter, by torch, and on a GPU."""

import importlib.util
import subprocess
import sys

import kernel_cases as cases
import numpy as np
import pytest
import torch

from findna.config import PRESETS, EmbedConfig, ModelConfig
from findna.data.batch import pack
from findna.data.datasets import corpus_of
from findna.embedding import Embedder
from findna.errors import ConfigError
from findna.models.convert import read_checkpoint
from findna.nn import kernels
from findna.nn.chordmixer import ChordMixer, initialise
from findna.nn.device import BF16, BF16_STREAM, FP32
from findna.record import Record
from findna.sequence import BLANK, encode
from findna.train.pretrain import Portion, Trainer, views_of

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
LIMIT = {FP32: 1e-5, BF16: 0.03, BF16_STREAM: 0.03}
"""Of hidden states and gradients: norm of the difference over the norm."""

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


def cuda(function):
    """A test that needs a GPU."""
    skip = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
    return pytest.mark.cuda(skip(pytest.mark.filterwarnings("default")(function)))  # compilers advise


@pytest.fixture(scope="module")
def interpreter():
    with cases.process(TRITON_INTERPRET="1") as pool:
        yield lambda function, *args, **settings: pool.submit(function, *args, **settings).result()


@needs_triton
@pytest.mark.parametrize("case", cases.NETWORKS)
def test_fused_kernels_give_the_values_and_gradients_of_the_plain_path(interpreter, case):
    found = interpreter(cases.differences, case, "triton", with_noise=case == "tiny")
    assert max(found.values()) < 1e-5, found


@needs_triton
def test_fused_kernels_give_a_sequence_the_same_bits_in_any_batch(interpreter):
    for alone, together in interpreter(cases.alone_and_together, "tiny", "triton"):
        np.testing.assert_array_equal(alone, together)


@needs_triton
def test_fused_kernels_take_a_stream_in_bf16(interpreter):
    found = interpreter(cases.differences, "tiny", "triton", precision=cases.COARSE_STREAM)
    assert 1e-4 < max(found.values()) < LIMIT[BF16_STREAM], found


@pytest.mark.parametrize(
    ("way", "precision"),
    [("torch", FP32), ("torch", BF16), ("torch", BF16_STREAM), ("plain", BF16), ("plain", BF16_STREAM)],
)
@pytest.mark.parametrize("case", cases.NETWORKS)
def test_every_precision_gives_the_values_and_gradients_of_the_plain_path_in_fp32(case, precision, way):
    found = cases.differences(case, way, precision=precision, with_noise=case == "tiny")
    assert max(found.values()) < LIMIT[precision], found


@needs_triton
@pytest.mark.parametrize(
    ("config", "capability", "room", "stream"),
    [
        (ModelConfig(channels=100, hidden=64, track_width=10), 80, 99, "bf16"),
        pytest.param(ModelConfig(), 80, 99, "fp32", marks=pytest.mark.slow),
        pytest.param(ModelConfig(), 90, 227, "fp32", marks=pytest.mark.slow),
        pytest.param(ModelConfig(), 90, 227, "bf16", marks=pytest.mark.slow),
    ],
)
def test_fused_kernels_compile_for_a_gpu_and_fit_in_its_shared_memory(config, capability, room, stream, tmp_path):
    with cases.process(TRITON_CACHE_DIR=str(tmp_path)) as pool:  # the interpreter takes more than the compiler does
        sizes = pool.submit(cases.shared_memory, config, capability=capability, stream=stream).result()
    assert 0 < min(sizes) <= max(sizes) <= room * 1024


@pytest.mark.slow
def test_compiled_functions_give_the_values_and_gradients_of_the_plain_path():
    with cases.process() as pool:
        found = pool.submit(cases.differences, "extended", "compile").result()
    assert max(found.values()) < 1e-5, found


def test_a_way_that_rotates_wrongly_is_seen_by_the_comparison_before_it_is_taken():
    def forward(h, weights, turn, is_saved):
        return kernels._mix(h, weights, turn.target, turn.track_width)

    def backward(grad, saved, weights, turn):
        return kernels._mix_back(grad, saved, weights, turn.source, turn.track_width)

    wrong = kernels.deviations(kernels.Way(forward, backward), 12, 16, device=CPU, precision=FP32)
    right = kernels.deviations(kernels.TORCH, 12, 16, device=CPU, precision=FP32)
    assert wrong["update"] > 0.1
    assert wrong["gradient of w1"] > 0.1
    assert max(right.values()) < 1e-6


def test_tables_of_a_rotation_undo_each_other_in_own_rings():
    turn = kernels.Turn(np.array([0, 5, 6, 9]), shifts=(0, 1, 4, 512), track_width=2, device=CPU)
    assert turn.source[:, 1].tolist() == [1, 2, 3, 4, 0, 5, 7, 8, 6]
    for source, target in zip(turn.source.T, turn.target.T, strict=True):
        assert source[target.long()].tolist() == list(range(9))


def test_a_cpu_stays_with_plain_code_and_never_loads_triton():
    code = """if True:
        import sys, numpy as np, torch
        from findna.config import ModelConfig
        from findna.nn.chordmixer import ChordMixer
        from findna.nn.device import FP32
        from findna.nn.kernels import choose
        config = ModelConfig(channels=8, hidden=8, track_width=2, n_layers=1, max_len=20)
        ChordMixer(config)(torch.zeros(12, dtype=torch.uint8), np.array([0, 12])).sum().backward()
        print(choose(config, device=torch.device("cpu"), precision=FP32).name, "triton" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], env={"FINDNA_KERNELS": "triton"}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "plain False\n"


def test_a_way_that_does_not_exist_is_refused(monkeypatch):
    monkeypatch.setenv("FINDNA_KERNELS", "fast")
    with pytest.raises(ConfigError, match="FINDNA_KERNELS=fast: known are auto, triton, compile, plain"):
        kernels.choose(ModelConfig(), device=CPU, precision=FP32)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_where_nothing_works_plain_code_is_taken_and_the_reasons_are_told(monkeypatch):
    choice = kernels.choose(cases.TINY, device=CUDA, precision=BF16)
    assert choice.name == "plain"
    assert choice.facts()["kernels_refused"].keys() == {"triton", "compile"}
    assert kernels.choose(cases.TINY, device=CUDA, precision=FP32).refused.keys() == {"compile"}
    monkeypatch.setenv("FINDNA_KERNELS", "triton")
    with pytest.raises(ConfigError, match="FINDNA_KERNELS=triton does not work on cuda: "):
        kernels.choose(cases.TINY, device=CUDA, precision=BF16)


@cuda
@pytest.mark.parametrize("precision", LIMIT)
@pytest.mark.parametrize("way", ["triton", "compile", "plain"])
@pytest.mark.parametrize("case", cases.NETWORKS)
def test_a_gpu_gives_the_values_and_gradients_of_a_cpu(case, way, precision):
    found = cases.differences(case, way, device="cuda", precision=precision, with_noise=case == "tiny")
    assert max(found.values()) < LIMIT[precision], found


@cuda
@pytest.mark.parametrize("precision", LIMIT)
@pytest.mark.parametrize("way", ["triton", "compile", "plain"])
def test_a_sequence_has_the_same_hidden_states_in_any_batch_on_a_gpu(way, precision):
    for alone, together in cases.alone_and_together("published width", way, device="cuda", precision=precision):
        if precision == FP32:
            assert np.abs(alone - together).max() <= 1e-5 * np.abs(together).max()
        else:
            a, b = alone.ravel().astype(float), together.ravel().astype(float)
            assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) >= 0.9999


@cuda
@pytest.mark.parametrize("way", ["triton", "compile"])
def test_the_same_batch_gives_the_same_bits_on_a_gpu(way):
    first, second = (cases.values_of("published width", way, device="cuda", precision=BF16) for _ in range(2))
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


@cuda
def test_the_fused_kernels_are_what_an_able_gpu_takes(monkeypatch):
    monkeypatch.delenv("FINDNA_KERNELS", raising=False)
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("the GPU has no bf16 matrix units")
    for is_training in (False, True):
        choice = kernels.choose(ModelConfig(), device=CUDA, precision=BF16, is_training=is_training)
        assert choice == ("triton", {})


@cuda
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


@cuda
@pytest.mark.parametrize("way", ["triton", "compile", "plain"])
@pytest.mark.parametrize("pool", ["mean", "cls", "max"])
def test_a_gpu_gives_the_vectors_of_a_cpu(way, pool, monkeypatch):
    monkeypatch.setenv("FINDNA_KERNELS", way)
    network = initialise(ChordMixer(ModelConfig(n_layers=1)), 1)
    rng = np.random.default_rng(0)
    records = [
        Record(str(i), rng.integers(0, 5, size=n, dtype=np.uint8), 0, i, "made")
        for i, n in enumerate((1, 300, 1000, 2500, 77))
    ]
    vectors = [
        np.concatenate([rows.x for rows in embedder.embed(records)])
        for embedder in (
            Embedder(network, EmbedConfig(pool=pool), device=CPU, precision=FP32),
            Embedder(network, EmbedConfig(pool=pool), device=CUDA, precision=BF16),
        )
    ]
    norms = np.linalg.norm(vectors[0], axis=1) * np.linalg.norm(vectors[1], axis=1)
    assert ((vectors[0] * vectors[1]).sum(1) / norms).min() >= 0.999


@cuda
@pytest.mark.parametrize("precision", LIMIT)
@pytest.mark.parametrize("way", ["triton", "compile", "plain"])
def test_a_step_of_pretraining_on_a_gpu_has_the_figures_of_a_cpu(way, precision, monkeypatch):
    monkeypatch.setenv("FINDNA_KERNELS", way)
    recipe = PRESETS["tiny"]
    rng = np.random.default_rng(0)
    sequences = [rng.integers(0, 4, size=1000, dtype=np.uint8) for _ in range(4)]
    views = views_of(corpus_of(sequences), range(4), epoch=0, config=recipe)
    n_bases = len(views.student.codes) - 4 * recipe.model.n_class_tokens
    portion = Portion(views, n_sequences=4, n_masked=len(views.targets), n_bases=n_bases)
    found, expected = (
        Trainer(recipe, device=device, precision=kind).update(portion, rate=1e-4, momentum=0.996)
        for device, kind in ((CUDA, precision), (CPU, FP32))
    )
    for figure in ("loss", "mnm_loss", "contrastive_loss", "grad_norm"):
        assert found[figure] == pytest.approx(expected[figure], rel=1e-4 if precision == FP32 else 0.02), figure
