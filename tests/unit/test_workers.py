"""Several processes that make cells: what goes wrong in one of them, and in what it is given."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from findna.cells import GRID
from findna.config import EmbedConfig, ModelConfig
from findna.errors import BedError, ConfigError, InputError, ModelError
from findna.job import EmbedJob, _load_cells
from findna.models.store import save_model
from findna.nn.chordmixer import ChordMixer, initialise
from findna.record import Record
from findna.workers import Workers

pytestmark = pytest.mark.early


class Sink:
    """Keeps the tokens."""

    def __init__(self):
        self.tokens = []

    def write_tokens(self, tokens):
        self.tokens.append(tokens)


@pytest.fixture
def job(tmp_path: Path):
    size = ModelConfig(channels=6, hidden=5, track_width=2, n_layers=2, max_len=23, n_class_tokens=3)
    save_model(tmp_path / "little", initialise(ChordMixer(size), 2), name="little", training={}, card="# little\n")
    config = EmbedConfig(with_tokens=True, batch_bases=64)
    return EmbedJob(["a.fa"], tmp_path / "a.h5", config=config, model=str(tmp_path / "little"), device="cpu")


def workers(*jobs):
    return Workers([partial(_load_cells, job, "fp32") for job in jobs], ["cpu"] * len(jobs), batch_bases=64)


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
    one, several, found = Sink(), Sink(), []
    try:
        expected = list(_load_cells(job, "fp32")(items(500), one))
        with workers(job, job) as two, pytest.raises(InputError, match=r"a\.fa: truncated"):
            found.extend(two.cells(broken(500), several))
    finally:
        torch.set_num_threads(n_threads)
    assert len(expected) > 500 / GRID
    assert len(expected) - 1 <= len(found) <= len(expected)
    for a, b in zip(found, expected, strict=False):
        assert a.x.tobytes() == b.x.tobytes()
        assert a.obs == b.obs
        assert [(str(x), vars(x)) for x in a.skipped] == [(str(x), vars(x)) for x in b.skipped]
    tokens, whole = np.concatenate(several.tokens), np.concatenate(one.tokens)
    assert len(tokens) == sum(row["length"] for cell in found for row in cell.obs)
    assert tokens.tobytes() == whole[: len(tokens)].tobytes()


def test_what_a_process_cannot_load_is_its_error(job, tmp_path: Path):
    (tmp_path / "little" / "model.safetensors").write_bytes(b"no tensors")
    with workers(job) as one, pytest.raises(ModelError):
        list(one.cells(items(500), Sink()))


def test_each_gpu_has_a_process_and_one_that_is_not_there_is_named(job, tmp_path: Path):
    gpus = EmbedJob(["a.fa"], tmp_path / "a.h5", config=EmbedConfig(), gpus=3)
    assert gpus.devices == ["cuda:0", "cuda:1", "cuda:2"]
    absent = EmbedJob(["a.fa"], tmp_path / "a.h5", config=EmbedConfig(), model=job.model, device="cuda:77")
    with pytest.raises(ConfigError, match="cuda:77' is not available here"):
        _load_cells(absent, "fp32")
