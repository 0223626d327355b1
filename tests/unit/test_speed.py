"""The speed table: its naive forward is the network, it has all rows, its shares add up. Nothing is timed."""

import time

import numpy as np
import pytest
import torch

from findna.benchmark.rivals import naive_forward
from findna.benchmark.speed import LENGTHS, SpeedConfig, _times, cases, measure_speed, mixed_lengths, speed_table
from findna.benchmark.timing import TimedCase
from findna.data.batch import pack
from findna.errors import ConfigError
from findna.nn.chordmixer import ChordMixer, initialise
from findna.nn.device import FP32, Compute
from findna.sizes import SIZES

CPU = torch.device("cpu")


def test_the_naive_forward_computes_the_same():
    network = initialise(ChordMixer(SIZES["tiny"]), 0).eval()
    rng = np.random.default_rng(0)
    batch = pack([rng.integers(0, 5, 40, dtype=np.uint8) for _ in range(3)], n_class_tokens=10)
    codes = torch.from_numpy(batch.codes)
    with torch.inference_mode():
        naive = naive_forward(network, codes.reshape(3, -1)).flatten(0, 1)
        assert torch.allclose(network(codes, batch.rings), naive, atol=1e-4)


def test_mixed_lengths_fill_a_batch_and_no_more():
    lengths = mixed_lengths(16384)
    assert 15384 < sum(lengths) <= 16384
    assert min(lengths) >= 100
    assert max(lengths) <= 1000


def test_every_variant_has_a_row_and_its_share_is_of_the_products():
    config = SpeedConfig(sizes=("tiny",), precisions=("fp32",), n_bases=max(LENGTHS), rounds=1)
    report = measure_speed(config, device=CPU)
    batches = [row["batch"] for row in report["rows"] if (row["what"], row["lengths"]) == ("forward", "1000")]
    assert batches == [8192, 1000, 4 * 8192]
    rows = {(row["what"], row["lengths"]): row for row in report["rows"] if row["batch"] in (8192, 8000)}
    forwards = {lengths for what, lengths in rows if what == "forward"}
    assert forwards == {*map(str, LENGTHS), "100-1000"}
    assert {"products", "naive forward", "embed", "pretraining step", "fine-tuning step"} <= {what for what, _ in rows}
    for (what, _), row in rows.items():
        assert (row["cost"] is None) == (what not in ("forward", "embed"))
        if row["cost"] is not None:
            assert row["cost"] == pytest.approx(rows["forward", "1000"]["cpu_gflops"] / row["cpu_gflops"])
    assert all(isinstance(row["memory_bytes"], int | None) for row in report["rows"])
    limit = rows["products", ""]["cpu_gflops"]
    for (what, _), row in rows.items():
        if row["share"] is not None:
            assert row["share"] == pytest.approx(row["cpu_gflops"] / limit)
            factor = {"pretraining step": 8, "fine-tuning step": 6}.get(what, 2)
            flops = factor * SIZES["tiny"].n_parameters * row["bases_per_second"]
            assert row["gflops"] == pytest.approx(flops / 1e9)
    table = speed_table(report)
    assert table.count("\n") == len(report["rows"]) + 3
    assert "best of 1 round; 8,192 bases per batch" in table
    for spread, row in enumerate(report["rows"]):
        row["spread"] = spread / 100
    assert ", 1 thread, native" in speed_table({**report, "threads": 1})
    assert f"differ by {(len(report['rows']) - 1) / 2:.0f}% (median; at most" in speed_table({**report, "rounds": 2})


def test_no_round_starts_that_would_end_after_the_limit():
    case = TimedCase("x", "fp32", "", 1, 1, 1.0, lambda: None)
    now = time.monotonic()
    for limit, n_rounds in ((0, 0), (60, 3)):
        memory, seconds, n_found = _times([case], "x", 3, CPU, until=now + limit)
        assert (len(memory), seconds.shape, n_found) == (1, (max(n_rounds, 1), 1, 2), n_rounds)


def test_what_is_embedded_takes_several_batches_of_the_forward_s_size():
    variant = next(v for v in cases("tiny", SpeedConfig(n_bases=9500), Compute(CPU, FP32, 9500)) if v.what == "embed")
    assert variant.n_bases == 4 * 9000
    assert variant.run.args[0].compute.batch_bases == 9500


@pytest.mark.parametrize("settings", [{"sizes": ("large",)}, {"precisions": ("fp8",)}, {"n_bases": 100}])
def test_what_cannot_be_timed_is_said(settings):
    with pytest.raises(ConfigError):
        SpeedConfig(**settings)
