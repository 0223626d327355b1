"""The blocks as a GPU computes them against those of the CPU, by Triton's interpreter and by torch."""

import copy
import importlib.util
import subprocess
import sys

import kernel_cases as cases
import numpy as np
import pytest
import torch

from findna.errors import ConfigError
from findna.nn import kernels, measured
from findna.nn.device import BF16, BF16_STREAM, FP32
from findna.sizes import SIZES, ModelConfig

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
LIMIT = {FP32: 1e-5, BF16: 0.03, BF16_STREAM: 0.03}
"""Of hidden states and gradients: norm of the difference over the norm."""

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


@pytest.fixture(scope="module")
def interpreter():
    with cases.process(TRITON_INTERPRET="1") as pool:
        yield lambda function, *args, **settings: pool.submit(function, *args, **settings).result()


@needs_triton
@pytest.mark.parametrize("case", cases.NETWORKS)
def test_fused_kernels_give_the_values_and_gradients_of_a_cpu(interpreter, case):
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
    [
        ("rows", FP32),
        ("rows", BF16),
        ("plain", FP32),
        ("plain", BF16),
        ("plain", BF16_STREAM),
        ("columns", BF16),
        ("columns", BF16_STREAM),
    ],
)
@pytest.mark.parametrize("case", cases.NETWORKS)
def test_every_precision_gives_the_values_and_gradients_of_a_cpu_in_fp32(case, precision, way):
    found = cases.differences(case, way, precision=precision, with_noise=case == "tiny")
    assert max(found.values()) < LIMIT[precision], found


ROOM = {80: 99, 90: 227, 100: 227, 120: 99}
"""KB of shared memory of a program, by compute capability; 8.0 has more, but 8.6 and 8.9 take the same kernels."""


@needs_triton
@pytest.mark.parametrize(
    ("size", "capability", "stream"),
    [
        ("tiny", 80, "bf16"),
        *(
            pytest.param(size, capability, stream, marks=pytest.mark.slow)
            for size in ("base", "small")
            for capability in ROOM
            for stream in ("fp32", "bf16")
        ),
    ],
)
def test_fused_kernels_compile_for_a_gpu_within_its_shared_memory_and_registers(size, capability, stream, tmp_path):
    with cases.process(TRITON_CACHE_DIR=str(tmp_path)) as pool:  # the interpreter replaces the compiler in a process
        found = pool.submit(cases.compiled, SIZES[size], capability=capability, stream=stream).result()
    for kernel in found:
        assert 0 < kernel.shared <= ROOM[capability] * 1024
        assert kernel.stack <= 64, kernel  # what is spilled lies outside the loop over the hidden layer
        assert kernel.spills <= 64, kernel
    if capability == 90:  # both warpgroups have rows of their own
        assert {layout for kernel in found for layout in kernel.layouts} == {(8, 1)}


def test_the_fastest_measured_way_comes_first_and_plain_torch_last():
    def row(way, **changes):
        return measured.FastestWay(90, 308, 512, False, "bf16", way)._replace(**changes)

    rows = [row("triton"), row("compile", channels=154), row("compile", is_training=True)]
    assert measured.order(rows, row("")) == ("triton", "plain")
    assert measured.order(rows, row("", is_training=True)) == ("compile", "plain")
    assert measured.order(rows, row("", capability=80)) == ("plain",)
    assert measured.order([*rows, row("plain", hidden=64)], row("", hidden=64)) == ("plain",)
    assert measured.order([*rows, row("compile")], row("")) == ("compile", "plain")  # the later measurement


def test_the_committed_table_names_known_ways():
    assert {row.way for row in measured.measured()} <= {*kernels.WAYS, kernels.ROWS}


@pytest.mark.parametrize("precision", [FP32, BF16, BF16_STREAM], ids=lambda precision: precision.name)
def test_aligned_rows_of_amx_give_the_same_bits(precision, monkeypatch):
    expected = cases.values_of("odd width", "columns", precision=precision)
    monkeypatch.setattr("findna.nn.mixing.has_amx", lambda: True)
    found = cases.values_of("odd width", "columns", precision=precision)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_cpu_takes_rows_of_positions_only_where_they_were_measured_or_forced(monkeypatch):
    def chosen(is_training=False):
        measured.capability_of.cache_clear()
        return kernels.choose(SIZES["base"], device=CPU, precision=BF16, is_training=is_training).name

    row = measured.FastestWay(measured.AMX, 308, 512, False, "bf16", kernels.ROWS)
    monkeypatch.setattr(kernels, "measured", lambda: (row,))
    assert chosen() == "plain"
    monkeypatch.setattr(measured, "has_amx", lambda: True)
    assert (chosen(), chosen(is_training=True)) == (kernels.ROWS, "plain")
    monkeypatch.setenv(kernels.ENVIRONMENT, kernels.ROWS)
    assert chosen(is_training=True) == kernels.ROWS
    network = cases.network_of("odd width")
    codes, rings, _ = cases.batch_of(network)
    rows = cases.hidden_states(network, codes, rings, way=kernels.ROWS, depths=(len(network.blocks),))
    assert torch.equal(network(codes, rings), rows)
    measured.capability_of.cache_clear()


@pytest.mark.parametrize("case", cases.NETWORKS)
def test_dropout_of_nothing_changes_neither_values_nor_gradients(case):
    found = cases.differences(case, "plain", dropout=1e-12)
    assert max(found.values()) < 1e-5, found


def test_dropout_keeps_the_mean_and_its_masks_in_the_backward_pass():
    stem, block = torch.nn.Linear(5, 8), [torch.zeros(16, 8), torch.zeros(16), torch.zeros(8, 16), torch.ones(8)]
    torch.nn.init.zeros_(stem.weight)
    torch.nn.init.zeros_(stem.bias)
    bias = block[3].requires_grad_()
    torch.manual_seed(0)
    turn = kernels.Turn(np.array([0, 5]), shifts=(0, 1), track_width=4, device=CPU)
    settings = {"depths": [1], "turns": [turn], "noise": None, "precision": FP32, "way": kernels.TORCH}
    out = kernels.hidden_states(stem, [block], torch.zeros(5, dtype=torch.uint8), **settings, dropout=0.5)
    assert {*out.flatten().tolist()} == {0.0, 2.0}  # every update is 0, or 1 over the share that stays
    (gradient,) = torch.autograd.grad(out.sum(), bias)
    assert gradient.tolist() == out.sum(0).tolist()


@pytest.mark.slow
def test_compiled_functions_give_the_values_and_gradients_of_a_cpu():
    with cases.process() as pool:
        found = pool.submit(cases.differences, "extended", "compile").result()
    assert max(found.values()) < 1e-5, found


def test_a_way_that_rotates_wrongly_is_seen_by_the_comparison_before_it_is_taken():
    def turned(turn):
        other = copy.copy(turn)
        other.source, other.target = turn.target, turn.source
        return other

    def forward(h, weights, turn, is_saved):
        return kernels.TORCH.forward(h, weights, turned(turn), is_saved)

    def backward(grad, saved, weights, turn):
        return kernels.TORCH.backward(grad, saved, weights, turned(turn))

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
    assert choice == ("plain", {})
    tiny = cases.TINY
    rows = tuple(
        measured.FastestWay(0, tiny.channels, tiny.hidden, False, kind.name, "triton") for kind in (BF16, FP32)
    )
    monkeypatch.setattr(kernels, "measured", lambda: rows)
    for precision in (BF16, FP32):
        choice = kernels.choose(tiny, device=CUDA, precision=precision)
        assert choice.name == "plain"
        assert choice.facts()["kernels_refused"].keys() == {"triton"}
    monkeypatch.setenv("FINDNA_KERNELS", "triton")
    with pytest.raises(ConfigError, match="FINDNA_KERNELS=triton does not work on cuda: "):
        kernels.choose(cases.TINY, device=CUDA, precision=BF16)
