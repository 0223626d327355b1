"""Processes that train together: their places, how they meet, and portions that add up to the whole batch."""

import json
import signal
import threading
from datetime import timedelta

import numpy as np
import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from findna.data.datasets import corpus_of, split_evenly
from findna.errors import ConfigError, TrainingError
from findna.nn.device import FP32, Compute
from findna.recipes import PretrainConfig
from findna.sizes import ModelConfig
from findna.train.launch import launch, record_failure
from findna.train.parallel import LOST, Team, join, meet
from findna.train.place import Place, find_place, is_restart
from findna.train.trainer import Trainer
from findna.train.views import portion_of

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "a"}
SLURM = {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "4(x2)"}


def test_a_place_is_read_from_torchrun_or_srun():
    assert find_place({}) == Place()
    assert find_place({**TORCHRUN, "TORCHELASTIC_RESTART_COUNT": "2"}) == Place(3, 4, 1, 2, "a", 2)
    assert find_place({**TORCHRUN, "TORCHELASTIC_RUN_ID": "none"}).job == ""
    slurm = find_place({**SLURM, "SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0", "SLURM_RESTART_COUNT": "1"})
    assert slurm == Place(5, 8, 1, 4, "slurm-77.0", 1)
    assert find_place({**SLURM, **TORCHRUN}).rank == 3  # torchrun inside of srun


def test_a_slurm_batch_script_is_no_task():
    assert find_place({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "7"}) == Place()


def test_a_variable_that_is_no_number_is_named():
    with pytest.raises(ConfigError, match="the environment variable WORLD_SIZE is 'four', no number"):
        find_place({"RANK": "0", "WORLD_SIZE": "four"})


def test_a_run_of_another_job_is_no_restart():
    assert is_restart(Place(job="a"), "a")
    assert not is_restart(Place(job="a"), None)
    assert not is_restart(Place(), "")
    assert not is_restart(Place(job="slurm-7.0"), "slurm-7.0")  # a requeued job counts its restarts
    assert is_restart(Place(job="slurm-7.0", n_restarts=1), "slurm-7.0")
    assert not is_restart(Place(job="slurm-7.0", n_restarts=1), "slurm-6.0")


def attempt(store, size, ranks=None):
    """The names that ranks of one attempt agree on."""
    names = {}

    def go(rank):
        names[rank] = meet(store, rank, size, patience=timedelta(seconds=20))

    threads = [threading.Thread(target=go, args=(rank,)) for rank in (range(size) if ranks is None else ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return names


def test_each_attempt_has_a_name_of_its_own_in_a_store_that_stays():
    store = torch.distributed.HashStore()
    found = [attempt(store, 4) for _ in range(5)]
    assert all(sorted(names) == [0, 1, 2, 3] for names in found)
    assert all(len(set(names.values())) == 1 for names in found)
    assert len({names[0] for names in found}) == 5


def test_who_meets_a_dead_attempt_waits_for_the_next():
    store = torch.distributed.HashStore()
    (dead,) = set(attempt(store, 3).values())
    early = threading.Thread(target=lambda: late.update(attempt(store, 3, [1, 2])))
    late: dict[int, str] = {}
    early.start()
    early.join(0.3)
    assert early.is_alive()  # the file of the dead process exists and is not taken for a live one
    (name,) = attempt(store, 3, [0]).values()
    early.join(20)
    assert late == {1: name, 2: name}
    assert name != dead


def test_a_process_that_does_not_come_is_an_error():
    with pytest.raises(TrainingError, match="not all of the 2 processes have come within 0:00:00"):
        meet(torch.distributed.HashStore(), 0, 2, patience=timedelta(seconds=0.05))


def test_a_process_alone_needs_no_others():
    team = join(Place(), torch.device("cpu"))
    tensor = torch.arange(3.0)
    assert team.is_main
    assert team.sum(tensor) is tensor
    assert team.gather([1, 2]) == [1, 2]
    assert team.agree(7, True) == (7, True)
    assert isinstance(team, Team)


def test_a_failure_is_left_to_who_launched(tmp_path):
    path = tmp_path / "error.json"
    launched = {"FINDNA_LAUNCHED": "1", "TORCHELASTIC_ERROR_FILE": str(path)}
    assert not record_failure("x", {"TORCHELASTIC_ERROR_FILE": str(path)})
    assert not path.exists()
    assert record_failure("x", launched)
    assert json.loads(path.read_text())["message"] == "x"


@pytest.fixture
def ended(monkeypatch):
    """What `launch` makes of processes that ended with these failures."""

    def ended(failures):
        class Elastic:
            def __init__(self, *_):
                pass

            def __call__(self, *_):
                raise ChildFailedError("findna", failures)

        monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", Elastic)
        monkeypatch.setenv("FINDNA_LAUNCHED", "")  # so that it is as before after the test
        return launch(["pretrain"], n_processes=2, max_restarts=0)

    return ended


def test_what_a_process_said_counts_even_if_the_launcher_ended_it_on_its_way_out(tmp_path, capsys, ended):
    failures = {}
    for rank, (code, text) in enumerate([(-signal.SIGTERM, "x.fa: is empty"), (1, f"{LOST}: connection closed")]):
        path = tmp_path / f"{rank}.json"
        assert record_failure(text, {"FINDNA_LAUNCHED": "1", "TORCHELASTIC_ERROR_FILE": str(path)})
        failures[rank] = ProcessFailure(rank, 1, code, str(path))
    assert ended(failures) == 1
    assert capsys.readouterr().err == "findna: x.fa: is empty\n"


def test_a_process_that_was_killed_is_named_and_not_those_that_lost_it(tmp_path, ended):
    said = tmp_path / "0.json"
    assert record_failure(f"{LOST}: closed", {"FINDNA_LAUNCHED": "1", "TORCHELASTIC_ERROR_FILE": str(said)})
    failures = {0: ProcessFailure(0, 1, 1, str(said)), 1: ProcessFailure(1, 2, -signal.SIGKILL, str(tmp_path / "none"))}
    with pytest.raises(TrainingError, match="process 1 was ended by SIGKILL; resume=True continues from the last"):
        ended(failures)


def test_what_all_processes_said_is_told_once(tmp_path, capsys, ended):
    failures = {}
    for rank in (0, 1):
        path = tmp_path / f"{rank}.json"
        assert record_failure("x.fa: is empty", {"FINDNA_LAUNCHED": "1", "TORCHELASTIC_ERROR_FILE": str(path)})
        failures[rank] = ProcessFailure(rank, 1, 2, str(path))
    assert ended(failures) == 2
    assert capsys.readouterr().err == "findna: x.fa: is empty\n"


def test_shares_are_even_and_whole():
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 8):
        for _ in range(20):
            lengths = rng.integers(100, 1001, size=int(rng.integers(n, 65))).tolist()
            parts = split_evenly(lengths, n)
            assert sorted(index for part in parts for index in part) == list(range(len(lengths)))
            assert all(part == sorted(part) and part for part in parts)
            loads = [sum(lengths[index] for index in part) for part in parts]
            assert max(loads) - min(loads) <= max(lengths)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_losses_and_gradients_of_portions_add_up_to_the_batch(reduction):
    """Portions differ in sequences and in masked bases: a mean of their means would be another loss."""
    model = ModelConfig(channels=12, hidden=16, track_width=2, n_layers=1, max_len=64, n_class_tokens=2)
    config = PretrainConfig(model=model, batch_size=7, reduction=reduction, min_length=10, max_indel=3)
    rng = np.random.default_rng(1)
    corpus = corpus_of(rng.integers(0, 4, size=60, dtype=np.uint8) for _ in range(7))
    trainer = Trainer(config, compute=Compute(torch.device("cpu"), FP32))

    def learn(size):
        portions = [portion_of(corpus, range(7), epoch=3, config=config, rank=rank, size=size) for rank in range(size)]
        assert sum(len(portion.views.targets) for portion in portions) == portions[0].n_masked
        for optimizer in trainer.optimizers:
            optimizer.zero_grad()
        total = 0.0
        for portion in portions:
            part = len(portion.views.student.rings) - 1
            share = part / portion.n_sequences
            masked = len(portion.views.targets) / portion.n_masked if reduction == "mean" else share
            losses = trainer.losses(portion.views, mnm_share=masked, sequence_share=share)
            losses.total.backward()
            total += losses.total.item()
        return total, torch.cat([p.grad.flatten() for p in trainer.student.parameters()])

    whole, gradient = learn(1)
    for size in (2, 3, 7):
        total, summed = learn(size)
        assert total == pytest.approx(whole, rel=1e-5)
        assert torch.allclose(summed, gradient, rtol=1e-4, atol=1e-6 * float(gradient.abs().max()))
