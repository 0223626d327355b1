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
from findna.nn import kernels, measured, rows
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
@pytest.mark.parametrize("case", ["tiny", "odd width"])
def test_fused_kernels_drop_the_same_values_as_torch(interpreter, case):
    found = interpreter(cases.differences, case, "triton", dropout=0.3)
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
    ("size", "capability", "stream", "is_dropped"),
    [
        ("tiny", 80, "bf16", True),
        *(
            pytest.param(size, capability, stream, is_dropped, marks=pytest.mark.slow)
            for size in ("base", "small")
            for capability in ROOM
            for stream, is_dropped in (("fp32", False), ("fp32", True), ("bf16", False))
        ),
    ],
)
def test_fused_kernels_compile_for_a_gpu_within_its_shared_memory_and_registers(
    size, capability, stream, is_dropped, tmp_path
):
    with cases.process(TRITON_CACHE_DIR=str(tmp_path)) as pool:  # the interpreter replaces the compiler in a process
        settings = {"capability": capability, "stream": stream, "is_dropped": is_dropped}
        found = pool.submit(cases.compiled, SIZES[size], **settings).result()
    for kernel in found:
        assert 0 < kernel.shared <= ROOM[capability] * 1024
        assert (kernel.spills < 128, kernel.n_in_loop) == (True, 0), kernel
    if capability == 90:  # both warpgroups have rows of their own
        assert {layout for kernel in found for layout in kernel.layouts} == {(8, 1)}


def test_the_fastest_measured_way_comes_first_and_plain_torch_last():
    def row(way, **changes):
        return measured.FastestWay(90, 308, 512, False, "bf16", way)._replace(**changes)

    table = [row("triton"), row("compile", channels=154), row("compile", is_training=True)]
    assert measured.order(table, row("")) == ("triton", "plain")
    assert measured.order(table, row("", is_training=True)) == ("compile", "plain")
    assert measured.order(table, row("", capability=80)) == ("plain",)
    assert measured.order([*table, row("plain", hidden=64)], row("", hidden=64)) == ("plain",)
    assert measured.order([*table, row("compile")], row("")) == ("compile", "plain")  # the later measurement


def test_the_committed_table_names_known_ways():
    assert {row.way for row in measured.measured()} <= {*kernels.WAYS}


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("precision", [FP32, BF16, BF16_STREAM], ids=lambda precision: precision.name)
@pytest.mark.parametrize("case", ["odd width", "extended"])
def test_the_pad_for_amx_changes_no_bits_of_hidden_states(precision, case, dropout, monkeypatch):
    """Also if new memory holds NaN, because oneDNN reads the pad on a CPU with AMX."""
    monkeypatch.setattr(cases, "LENGTHS", (41, 20, 529))
    found = []
    for has_amx in (False, True):
        monkeypatch.setattr("findna.nn.mixing.has_amx", lambda has_amx=has_amx: has_amx)
        torch.use_deterministic_algorithms(has_amx)  # which fills new memory with NaN
        try:
            found.append(cases.values_of(case, "columns", precision=precision, dropout=dropout))
        finally:
            torch.use_deterministic_algorithms(False)
    for name, value in found[0].items():
        if name == "hidden states":
            assert torch.equal(found[1][name], value)
        assert (found[1][name] - value).norm() <= 5e-3 * value.norm(), name


def test_a_way_that_drops_other_values_is_seen_by_the_comparison_before_it_is_taken():
    def backward(*arguments):
        return rows.TORCH.backward(*arguments[:-1], None)

    wrong = kernels.deviations(rows.TORCH._replace(backward=backward), 12, 16, device=CPU, precision=FP32, dropout=0.3)
    assert min(error for part, error in wrong.items() if part != "update") > 0.1
    assert wrong["update"] < 1e-6


@pytest.mark.parametrize("width", [8, 12])
def test_a_block_with_dropout_is_that_of_the_equation_with_its_masks(width):
    """Values and gradients against autograd, channel by channel, with weights that are padded to `width`."""
    n, channels, hidden, shifts, track_width = 9, 7, 6, (0, 1, 4), 3
    generator = torch.Generator().manual_seed(0)
    shapes = (n, channels), (hidden, channels), (hidden,), (channels, hidden), (channels,)
    h, w1, b1, w2, b2 = (torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes)
    turn = rows.Turn(np.array([0, 5, n]), shifts=shifts, track_width=track_width, device=CPU)
    dropout = rows.Dropout(0.3, 4, hidden)
    way = rows.TORCH._replace(hidden=width, channels=width)
    (padded,) = kernels._padded([(w1, b1, w2, b2)], way, torch.float64)
    masks = dropout.masks(h, rows.Weights(w1, b1, w2, b2))
    assert 0.15 < (~masks.inner).double().mean() < 0.45
    inner = torch.nn.functional.gelu(h @ w1.T + b1) * masks.inner / 0.7
    z = (inner @ w2.T + b2) * masks.update / 0.7
    turned = [
        torch.cat([ring[:, c].roll(-shifts[c // track_width]) for ring in (z[:5], z[5:])]) for c in range(channels)
    ]
    expected, found = h + torch.stack(turned, dim=1), rows.block(h, padded, turn, dropout, way)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    pairs = zip(
        *(torch.autograd.grad((out * weights).sum(), (h, w1, b1, w2, b2)) for out in (found, expected)), strict=True
    )
    for gradient, right in pairs:
        torch.testing.assert_close(gradient, right)


@pytest.mark.slow
def test_compiled_functions_give_the_values_and_gradients_of_a_cpu():
    with cases.process() as pool:
        found = pool.submit(cases.differences, "extended", "compile").result()
        dropped = pool.submit(cases.differences, "extended", "compile", dropout=0.3).result()
    assert max(*found.values(), *dropped.values()) < 1e-5, (found, dropped)


def test_a_way_that_rotates_wrongly_is_seen_by_the_comparison_before_it_is_taken():
    def turned(turn):
        other = copy.copy(turn)
        other.source, other.target = turn.target, turn.source
        return other

    def forward(h, weights, turn, *rest):
        return rows.TORCH.forward(h, weights, turned(turn), *rest)

    def backward(grad, saved, weights, turn, masks):
        return rows.TORCH.backward(grad, saved, weights, turned(turn), masks)

    wrong = kernels.deviations(rows.Way(forward, backward), 12, 16, device=CPU, precision=FP32)
    right = kernels.deviations(rows.TORCH, 12, 16, device=CPU, precision=FP32)
    assert wrong["update"] > 0.1
    assert wrong["gradient of w1"] > 0.1
    assert max(right.values()) < 1e-6


def test_tables_of_a_rotation_undo_each_other_in_own_rings():
    turn = rows.Turn(np.array([0, 5, 6, 9]), shifts=(0, 1, 4, 512), track_width=2, device=CPU)
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
    table = tuple(
        measured.FastestWay(0, tiny.channels, tiny.hidden, False, kind.name, "triton") for kind in (BF16, FP32)
    )
    monkeypatch.setattr(kernels, "measured", lambda: table)
    for precision in (BF16, FP32):
        choice = kernels.choose(tiny, device=CUDA, precision=precision)
        assert choice.name == "plain"
        assert choice.facts()["kernels_refused"].keys() == {"triton"}
    monkeypatch.setenv("FINDNA_KERNELS", "triton")
    with pytest.raises(ConfigError, match="FINDNA_KERNELS=triton does not work on cuda: "):
        kernels.choose(cases.TINY, device=CUDA, precision=BF16)
