"""Several processes that make cells: errors in one of them, and in its input."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from outputs import count_threads

from findna.cells import GRID
from findna.config import ComputeConfig, EmbedConfig, RunConfig
from findna.errors import BedError, ConfigError, InputError, ModelError
from findna.models.store import save_model
from findna.nn.chordmixer import ChordMixer, initialise
from findna.nn.device import FP32, Compute
from findna.record import Record
from findna.runs.embed import EmbedJob
from findna.runs.run import load_cells
from findna.runs.workers import Workers
from findna.sizes import ModelConfig

pytestmark = pytest.mark.early


@pytest.fixture
def job(tmp_path: Path):
    size = ModelConfig(channels=6, hidden=5, track_width=2, n_layers=2, max_len=23, n_class_tokens=3)
    save_model(tmp_path / "little", initialise(ChordMixer(size), 2), name="little", training={}, card="# little\n")
    return EmbedJob(
        ["a.fa"],
        tmp_path / "a.h5",
        config=EmbedConfig(with_tokens=True),
        compute=ComputeConfig(device="cpu", batch_bases=64),
        model=str(tmp_path / "little"),
    )


def workers(*jobs):
    compute = Compute(torch.device("cpu"), FP32, 64)
    return Workers([partial(load_cells, job, "fp32") for job in jobs], ["cpu"] * len(jobs), compute=compute)


def tokens_of(cells):
    return np.concatenate([cell.tokens for cell in cells if cell.tokens is not None])


def items(n):
    """Records of 1 to 90 bases; every seventh is a fault."""
    rng = np.random.default_rng(n)
    for row in range(n):
        if row % 7 == 3:
            yield BedError("outside the contig", path="a.bed", line=row + 1, record=f"r{row}", row=row)
        else:
            yield Record(
                f"r{row}", rng.integers(0, 5, 1 + row % 90, dtype=np.uint8), 0, row, "made", extra={"flag": row}
            )


def broken(n):
    yield from items(n)
    raise InputError("truncated", path="a.fa")


def test_cells_tokens_and_faults_come_as_from_one_process_and_whole_ones_before_a_fault_of_the_file(job):
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = []
    try:
        expected = list(load_cells(job, "fp32")(items(300)))
        with workers(job, job) as two, pytest.raises(InputError, match=r"a\.fa: truncated"):
            found.extend(two.cells(broken(300)))
    finally:
        torch.set_num_threads(n_threads)
    n_cells = sum(cell.is_end for cell in expected)
    assert n_cells > 300 / GRID
    assert n_cells - 1 <= sum(cell.is_end for cell in found) <= n_cells
    for a, b in zip(found, expected, strict=False):
        assert a.x.tobytes() == b.x.tobytes()
        assert a.obs == b.obs
        assert [(str(x), vars(x)) for x in a.skipped] == [(str(x), vars(x)) for x in b.skipped]
    tokens, whole = tokens_of(found), tokens_of(expected)
    assert len(tokens) == sum(sum(cell.obs.get("length", ())) for cell in found)
    assert tokens.tobytes() == whole[: len(tokens)].tobytes()


def test_processes_share_the_threads_and_what_one_cannot_load_is_its_error(job, tmp_path: Path):
    (tmp_path / "little" / "model.safetensors").write_bytes(b"no tensors")
    compute = Compute(torch.device("cpu"), FP32, 64, threads=6)
    with Workers([count_threads, partial(load_cells, job, "fp32")], ["a", "b"], compute=compute) as two:
        cells = two.cells(items(300))
        assert next(cells).x.tolist() == [[3]]
        with pytest.raises(ModelError):
            list(cells)


def test_each_gpu_has_a_process_and_one_that_is_not_there_is_named(job, tmp_path: Path):
    gpus = EmbedJob(["a.fa"], tmp_path / "a.h5", run=RunConfig(gpus=3))
    assert gpus.devices == ["cuda:0", "cuda:1", "cuda:2"]
    absent = EmbedJob(["a.fa"], tmp_path / "a.h5", model=job.model, compute=ComputeConfig(device="cuda:77"))
    with pytest.raises(ConfigError, match="cuda:77' is not available here"):
        load_cells(absent, "fp32")
