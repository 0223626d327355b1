"""Several processes that train as one: the same curve as of one, whatever their number, and when one is killed."""

import csv
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from command import FORKS, Result, call, fork, n_lines
from forks import Forks, Process

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="ranks are found by /proc"),
    pytest.mark.early,
]

STEPS = 50
MODEL = ["--preset", "tiny", "--min-length", "30", "--precision", "fp32", "--n-reports", "4", "-t", "1"]
FLAGS = ["--batch-size", "4", "--steps", str(STEPS)]
EXACT = {"step", "epoch", "n_bases", "kmer_accuracy"}
TIMED = {"seconds", "bases_per_second"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Path:
    """A folder with 120 windows of 60 bases, and a run of one process on them."""
    FORKS.append(forks)
    folder = tmp_path_factory.mktemp("ranks")
    draws = random.Random(11)
    lines = [f">w{i}\n{''.join(draws.choices('ACGT', k=60))}\n" for i in range(120)]
    (folder / "w.fa").write_text("".join(lines))
    train_alone(folder, "one")
    return folder


def train_alone(folder: Path, out: str, *flags: str) -> None:
    """The same pretraining in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = call("pretrain", "w.fa", *MODEL, *FLAGS, "-o", out, *flags)
    assert result.code == 0, result.err


def start(
    folder: Path,
    out: str,
    *flags: str,
    env: Mapping[str, str] = {},
    before: Sequence[str] = (),
) -> "Process | subprocess.Popen[bytes]":
    """A pretraining in a process of its own; `before` stands before the module, as torchrun's flags do."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **env}
    given = dict(zip(FLAGS[::2], FLAGS[1::2], strict=True)) | dict(zip(flags[::2], flags[1::2], strict=True))
    command = ["pretrain", "w.fa", *MODEL, "-o", out]
    command += [text for flag, value in given.items() for text in ((flag, value) if value else (flag,))]
    if not before:
        return fork(*command, environment=environment, folder=folder)
    words = [*before, "-m", "findna_cli", *command]
    return subprocess.Popen(words, cwd=folder, env=environment, stderr=subprocess.PIPE)


def finish(process: "Process | subprocess.Popen[bytes]") -> Result:
    """The end of a command, which must come."""
    error = process.communicate()[1].decode()
    assert process.returncode is not None
    return Result(process.returncode, "", error)


def pid_of(rank: int, out: str) -> int:
    """The process of a run that has this rank."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().decode().split("\0")
            variables = (path / "environ").read_bytes().decode().split("\0")
        except OSError:
            continue
        if out in words and "findna_cli" in words and f"RANK={rank}" in variables:
            return int(path.name)
    raise AssertionError(f"no process has rank {rank}")


def wait_for(path: Path, n: int, process: "Process | subprocess.Popen[bytes]") -> None:
    """Wait until a log has a number of rows."""
    while n_lines(path) < n + 1:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)


def assert_same_curve(folder: Path, out: str, like: str = "one", n: int = STEPS) -> None:
    """Every figure of every step is that of the other run, within 1e-4."""
    rows, expected = (list(csv.DictReader((folder / run / "log.csv").read_text().splitlines())) for run in (out, like))
    assert len(rows) == len(expected) == n
    for row, other in zip(rows, expected, strict=True):
        assert row.keys() == other.keys()
        for name in row.keys() - TIMED:
            assert bool(row[name]) == bool(other[name]), (row["step"], name)
            if row[name]:
                rel = 0 if name in EXACT else 1e-4
                assert float(row[name]) == pytest.approx(float(other[name]), rel=rel, abs=1e-12), (row["step"], name)


def test_processes_restarted_stopped_and_resumed_by_one_make_the_same_curve(folder: Path) -> None:
    log = folder / "two/log.csv"
    process = start(folder, "two", "--checkpoint-every", "0.01s", "--processes", "2", "--max-restarts", "1")
    wait_for(log, 15, process)
    os.kill(pid_of(0, "two"), signal.SIGKILL)
    time.sleep(0.5)
    wait_for(log, 30, process)
    process.send_signal(signal.SIGTERM)
    stopped = finish(process)
    assert stopped.code == 143, stopped.err
    assert stopped.err.count("restarted after a process died") == 1
    assert stopped.err.count("stopped at step") == 1
    assert "`findna pretrain --resume --out two` continues" in stopped.err
    assert "Traceback" not in stopped.err
    assert 30 <= n_lines(log) - 1 < STEPS
    train_alone(folder, "two", "--resume")
    assert_same_curve(folder, "two")


def test_what_a_user_can_mend_is_said_once(folder: Path) -> None:
    """Process 0 alone sees that the run directory is taken, and the other loses it."""
    (folder / "taken/checkpoints").mkdir(parents=True)
    result = finish(start(folder, "taken", "--processes", "2"))
    assert result.code == 1
    assert result.err.splitlines()[-1].startswith("findna: taken: holds a run already; ")
    assert result.err.count("holds a run already") == 1
    assert result.err.count("findna: ") == 1
    done = finish(start(folder, "one", "--processes", "2"))
    assert (done.code, done.err) == (0, "one: complete; nothing to do\n")


@pytest.mark.slow
def test_a_run_without_restarts_says_which_process_was_lost(folder: Path) -> None:
    process = start(folder, "lost", "--processes", "2")
    wait_for(folder / "lost/log.csv", 2, process)
    os.kill(pid_of(1, "lost"), signal.SIGKILL)
    result = finish(process)
    assert result.code == 1
    assert "findna: process 1 was ended by SIGKILL; --resume continues from the last checkpoint" in result.err
    assert "Traceback" not in result.err


@pytest.mark.slow
def test_eight_processes_make_the_curve_of_one(folder: Path) -> None:
    flags = ("--batch-size", "16", "--steps", "10")
    one, eight = start(folder, "a", *flags), start(folder, "b", *flags, "--processes", "8")
    for process in (one, eight):
        result = finish(process)
        assert result.code == 0, result.err
    assert_same_curve(folder, "b", like="a", n=10)


@pytest.mark.slow
def test_torchrun_on_two_nodes_goes_on_when_one_process_is_killed(folder: Path) -> None:
    """Two agents on one host, as on two: each counts its own restarts, and the store keeps what the dead left."""
    port = free_port()
    before = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    before += ["--max-restarts", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}"]
    before += ["--local-addr", "localhost", "--rdzv-id", "job"]
    nodes = [start(folder, "nodes", "--checkpoint-every", "0.01s", before=before) for _ in range(2)]
    for rank, n in ((1, 12), (0, 30)):
        wait_for(folder / "nodes/log.csv", n, nodes[0])
        os.kill(pid_of(rank, "nodes"), signal.SIGKILL)
        time.sleep(0.5)
    for process in nodes:
        result = finish(process)
        assert result.code == 0, result.err
    assert_same_curve(folder, "nodes")


def test_the_tasks_of_a_slurm_step_are_ranks(folder: Path) -> None:
    """The variables as srun sets them for two tasks on one host; there is no Slurm here."""
    step = {"SLURM_JOB_ID": str(free_port()), "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "localhost"}
    step |= {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_NTASKS": "2"}
    step |= {"MASTER_PORT": str(free_port())}
    tasks = [
        start(folder, "slurm", env={**step, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}) for rank in (0, 1)
    ]
    ends = [finish(task) for task in tasks]
    assert [end.code for end in ends] == [0, 0], ends[0].err + ends[1].err
    assert "2 processes on cpu" in ends[0].err
    assert ends[1].err == ""
    assert_same_curve(folder, "slurm")


def free_port() -> int:
    """A port that nobody listens to."""
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return int(listener.getsockname()[1])


class Host(NamedTuple):
    """A network namespace: to torch it is another host."""

    name: str
    interface: str
    address: str

    def start(self, folder: Path, out: str, first: str) -> "Process | subprocess.Popen[bytes]":
        """torchrun's agent of this host, with one process; the hosts meet at the address of the first."""
        before = ["ip", "netns", "exec", self.name, sys.executable, "-m", "torch.distributed.run"]
        before += ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3", "--local-addr", self.address]
        before += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{first}:29400", "--rdzv-id", out]
        before += ["--rdzv-conf", f"is_host={int(self.address == first)}"]
        # Without this an agent that comes late waits for ever for what the others were told at their first meeting.
        env = {"GLOO_SOCKET_IFNAME": self.interface, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        return start(folder, out, "--checkpoint-every", "0.01s", before=before, env=env)


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    """Two network namespaces that only a veth pair joins; skipped where they cannot be made."""
    mark = f"{os.getpid() % 100_000}"
    two = [Host(f"fnd{mark}{side}", f"v{mark}{side}", f"10.77.0.{number}") for number, side in enumerate("ab", start=1)]
    a, b = two
    if not shutil.which("ip") or subprocess.run(["ip", "netns", "add", a.name], capture_output=True).returncode:
        pytest.skip("network namespaces cannot be made here: needs root and iproute2")
    try:
        for words in (
            f"netns add {b.name}",
            f"link add {a.interface} netns {a.name} type veth peer name {b.interface} netns {b.name}",
            *(f"-n {host.name} addr add {host.address}/24 dev {host.interface}" for host in two),
            *(f"-n {host.name} link set {name} up" for host in two for name in ("lo", host.interface)),
        ):
            subprocess.run(["ip", *words.split()], check=True, capture_output=True)
        yield two
    finally:
        for host in two:
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True, check=False)


@pytest.mark.slow
def test_two_hosts_make_the_curve_of_one(folder: Path, hosts: list[Host]) -> None:
    nodes = [host.start(folder, "hosts", hosts[0].address) for host in hosts]
    for process in nodes:
        result = finish(process)
        assert result.code == 0, result.err
    assert_same_curve(folder, "hosts")


@pytest.mark.slow
def test_a_host_that_is_killed_and_comes_back_goes_on(folder: Path, hosts: list[Host]) -> None:
    """First its process dies and its agent starts it anew; then the agent dies too, as when the host fails."""
    first = hosts[0].address
    nodes = [host.start(folder, "failing", first) for host in hosts]
    log = folder / "failing/log.csv"
    wait_for(log, 10, nodes[0])
    victim = next(rank for rank in (0, 1) if host_of(pid_of(rank, "failing")) == hosts[1].name)
    os.kill(pid_of(victim, "failing"), signal.SIGKILL)
    time.sleep(0.5)
    wait_for(log, 25, nodes[0])
    nodes[1].kill()
    victim = next(rank for rank in (0, 1) if host_of(pid_of(rank, "failing")) == hosts[1].name)
    os.kill(pid_of(victim, "failing"), signal.SIGKILL)
    nodes[1].communicate()
    assert n_lines(log) - 1 < STEPS
    nodes[1] = hosts[1].start(folder, "failing", first)
    for process in nodes:
        result = finish(process)
        assert result.code == 0, result.err
    assert_same_curve(folder, "failing")


def host_of(pid: int) -> str:
    """The network namespace of a process."""
    done = subprocess.run(["ip", "netns", "identify", str(pid)], capture_output=True, text=True, check=True)
    return done.stdout.strip()
