"""A simulated power loss at any moment: committed rows survive, and a file with its final name is complete."""

import random
import shutil
from pathlib import Path

import pytest
from injector import Injector
from powerloss import lose_power, read_log

N = 40


@pytest.mark.parametrize("name", ["out.h5", "out.tsv", "out.npy", "out.parquet"])
@pytest.mark.parametrize("n_losses", [20, pytest.param(250, marks=pytest.mark.slow)])
def test_a_power_loss_costs_no_committed_row_and_leaves_no_damaged_file(
    writer: Injector, tmp_path: Path, name: str, n_losses: int
) -> None:
    job = ("rows", name, N, "full" if name == "out.h5" else "")
    root, log = tmp_path / "whole", tmp_path / "log"
    root.mkdir()
    assert writer.run(*job, folder=root, log=str(log)).code == 0
    expected = {path.name: path.read_bytes() for path in root.iterdir()}
    calls = read_log(log)
    for seed in range(n_losses):
        draw, folder = random.Random(seed), tmp_path / "lost"
        at = draw.randrange(len(calls) + 1)
        n_committed = lose_power(calls[:at], root, folder, draw=draw)
        what = f"seed {seed}: power lost after call {at} of {len(calls)}, {n_committed} records committed"
        is_there = (folder / name).exists()
        assert not is_there or (folder / name).read_bytes() == expected[name], f"{what}: a damaged file has its name"
        ended = writer.run(*job, folder=folder)
        assert ended.code == 0, f"{what}: {ended}"
        assert is_there or int(ended.said) >= n_committed, f"{what}, but {ended.said} are there"
        found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        assert found == expected, f"{what}: another result"
        shutil.rmtree(folder)
    print(f"{name}: {n_losses} losses of power")
