"""A run in one small file, to continue elsewhere: its step, no moments, and a new warm-up of the learning rate."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from findna.data.datasets import corpus_of
from findna.errors import OutputError, TrainingError
from findna.nn.device import FP32, Compute
from findna.recipes import PretrainConfig
from findna.sizes import ModelConfig
from findna.train.checkpoint import load_checkpoint
from findna.train.log import read_log
from findna.train.portable import export_run, import_run, portable_plan, read_portable
from findna.train.pretrain import pretrain

CPU = Compute(torch.device("cpu"), FP32)
MODEL = ModelConfig(channels=28, hidden=48, track_width=4, n_layers=1, max_len=64, n_class_tokens=2)
CONFIG = PretrainConfig(
    model=MODEL, steps=200, batch_size=8, reduction="mean", max_indel=0, alpha=0.9, learning_rate=1e-2, clip=1.0
)
MOTIF = np.tile(np.random.default_rng(5).integers(0, 4, size=16, dtype=np.uint8), 5)
WINDOWS = corpus_of([MOTIF[start : start + 62] for start in range(16)] * 2)


def run(out, *, stop=0, **options):
    asked = iter(range(1, 10**9))
    cpu = {"compute": CPU, "sources": {"made": 1}, "name": "t"}
    return pretrain(
        CONFIG, WINDOWS, WINDOWS, out, n_reports=4, should_stop=lambda: next(asked) == stop, **cpu, **options
    )


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A folder with a run that stopped at step 100, and its file."""
    folder = tmp_path_factory.mktemp("portable")
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run(folder / "run", stop=100)
    export_run(folder / "run", folder / "half.findna")
    yield folder
    torch.set_num_threads(n_threads)


def test_the_file_is_small_and_holds_where_the_run_stood(half):
    tensors, state, _ = read_portable(half / "half.findna")
    whole, stored = load_checkpoint(half / "run/checkpoints")
    assert (state["step"], state["fingerprint"]) == (100, stored["fingerprint"])
    assert {name for name in whole if name.startswith(("student", "teacher", "center"))} == set(tensors)
    for name, value in tensors.items():
        kept = whole[name] if name == "center" else whole[name].bfloat16().float()
        assert torch.equal(value, kept)
    size = (half / "half.findna").stat().st_size
    newest = next((half / "run/checkpoints").glob("*.safetensors")).stat().st_size
    assert size < 0.35 * newest
    assert size - 4 * MODEL.n_parameters < 40_000
    assert portable_plan(half / "half.findna").config == CONFIG


def test_a_carried_run_ends_as_well_as_one_that_stayed(half, tmp_path):
    assert import_run(half / "half.findna", tmp_path / "away", compute=CPU, job="j") == 100
    assert json.loads((tmp_path / "away/pretrain.json").read_text())["job"] == "j"
    away = run(tmp_path / "away", resume=True)
    shutil.copytree(half / "run", tmp_path / "stayed")
    stayed = run(tmp_path / "stayed", resume=True)
    assert (away.finished, away.step, away.n_bases) == (True, 200, stayed.n_bases)
    assert stayed.last["valid_loss"] < 0.75 * read_log(tmp_path / "stayed/log.csv")[0]["valid_loss"]
    assert away.last["valid_loss"] < 1.05 * stayed.last["valid_loss"]
    rates, usual = (
        [row["learning_rate"] for row in read_log(tmp_path / name / "log.csv") if row["step"] > 100]
        for name in ("away", "stayed")
    )
    assert rates[:3] == pytest.approx([usual[0] / 4, usual[1] / 2, usual[2] * 3 / 4], rel=1e-4)
    assert rates[4:] == usual[4:]


def test_a_carried_run_resumes_exactly(half, tmp_path):
    for name in ("whole", "parts"):
        import_run(half / "half.findna", tmp_path / name, compute=CPU)
    run(tmp_path / "whole", resume=True)
    run(tmp_path / "parts", resume=True, stop=2)  # in the midst of the rise
    run(tmp_path / "parts", resume=True)
    assert (tmp_path / "whole/model.safetensors").read_bytes() == (tmp_path / "parts/model.safetensors").read_bytes()


def test_what_cannot_be_carried_is_said(half, tmp_path):
    with pytest.raises(OutputError, match="run: holds a run already; choose another folder"):
        import_run(half / "half.findna", half / "run", compute=CPU)
    (tmp_path / "text").write_text("no")
    with pytest.raises(TrainingError, match="text: cannot be read as an exported run"):
        read_portable(tmp_path / "text")
    with pytest.raises(TrainingError, match="absent: cannot be read as an exported run"):
        read_portable(tmp_path / "absent")
    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(TrainingError, match="other: is not an exported run of findna pretrain"):
        read_portable(tmp_path / "other")
    with pytest.raises(TrainingError, match=r"none: nothing to export: no pretrain\.json"):
        export_run(tmp_path / "none", tmp_path / "file")
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(OutputError, match="taken: exists already; choose another name, or force=True replaces it"):
        export_run(half / "run", tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"


def test_an_export_says_where_the_run_stood(half, tmp_path):
    (tmp_path / "taken").touch()
    made = export_run(half / "run", tmp_path / "taken", force=True)
    assert made == ((tmp_path / "taken").stat().st_size, 100, False)
