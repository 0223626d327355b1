"""Checkpoints: complete or ignored; the newest three are kept."""

import json

import pytest
import torch

from findna.errors import TrainingError
from findna.train.checkpoint import load_checkpoint, save_checkpoint


def save(folder, step):
    save_checkpoint(folder, step, {"a": torch.full((3,), float(step))}, {"n_bases": 10 * step})


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    for step in (5, 10, 15, 1_000_000):
        save(folder, step)
    return folder


def test_the_newest_three_are_kept_and_the_newest_is_loaded(folder):
    names = sorted(path.name for path in folder.iterdir())
    steps = (10, 15, 1_000_000)
    assert names == sorted(f"step-{step:09d}.{end}" for step in steps for end in ("json", "safetensors"))
    tensors, state = load_checkpoint(folder)
    assert tensors["a"].tolist() == [1e6] * 3
    assert (state["step"], state["n_bases"]) == (1_000_000, 10_000_000)


@pytest.mark.parametrize(
    "damage", ["cut", "flipped", "empty", "no marker", "cut marker", "foreign marker", "no tensors"]
)
def test_a_damaged_newest_is_passed_over(folder, damage):
    weights, marker = folder / "step-001000000.safetensors", folder / "step-001000000.json"
    content = weights.read_bytes()
    if damage == "cut":
        weights.write_bytes(content[:-1])
    elif damage == "flipped":
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "empty":
        weights.write_bytes(b"")
    elif damage == "no marker":
        marker.unlink()
    elif damage == "cut marker":
        marker.write_bytes(marker.read_bytes()[:-20])
    elif damage == "foreign marker":
        marker.write_text(json.dumps(["step", 1]))
    else:
        weights.unlink()
    tensors, state = load_checkpoint(folder)
    assert state["step"] == 15
    assert tensors["a"].tolist() == [15.0] * 3


def test_what_a_killed_run_left_is_cleared_away(folder):
    (folder / "step-000000012.safetensors").write_bytes(b"half")
    (folder / ".step-000000012.json.99.tmp").write_bytes(b"half")
    save(folder, 1_000_001)
    assert {path.name.split(".")[0] for path in folder.iterdir()} == {
        "step-000000015",
        "step-001000000",
        "step-001000001",
    }


def test_nothing_to_resume_is_an_error(tmp_path):
    with pytest.raises(TrainingError, match=r"run: nothing to resume: no such folder$"):
        load_checkpoint(tmp_path / "run" / "checkpoints")
    (tmp_path / "run").mkdir()
    with pytest.raises(TrainingError, match="nothing to resume: no complete checkpoint in checkpoints/; delete "):
        load_checkpoint(tmp_path / "run" / "checkpoints")
