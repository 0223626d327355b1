"""The processes that train together: how they are started, find one another, agree, and continue when one is lost.

Each has a rank. torchrun, `findna pretrain` (torch.distributed.launcher) and Slurm's srun tell it by the
environment; DistributedDataParallel then averages the gradients. One process needs none of this.
"""

import contextlib
import json
import logging
import os
import re
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from findna.errors import ConfigError, TrainingError

PATIENCE = timedelta(minutes=30)
"""How long processes wait for one another: reading the sources may take one longer than the others."""

LOST = "lost another process of the run"
LAUNCHED = "FINDNA_LAUNCHED"
"""Set in the processes that `launch` starts: what ends them is told by the one that started them."""

Value = TypeVar("Value")


class Place(NamedTuple):
    """Which of the processes this is.

    Args:
        rank: 0 to size - 1; process 0 writes files and messages.
        size: Processes in all.
        local_rank: Number among those of its host.
        local_size: Processes on its host.
        job: What starts of the same job have in common; "" where it is not known.
        n_restarts: How often this host's processes were started anew.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    job: str = ""
    n_restarts: int = 0


def find_place(environment: Mapping[str, str] = os.environ) -> Place:
    """The place that torchrun or srun gave this process; without either it is alone.

    Raises:
        ConfigError: A variable of theirs is not a number.

    >>> find_place({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}).rank
    3
    """

    def number(name: str, default: int = 0) -> int:
        try:
            return int(environment.get(name, default))
        except ValueError as error:
            raise ConfigError(f"the environment variable {name} is {environment[name]!r}, no number") from error

    if "RANK" in environment and "WORLD_SIZE" in environment:
        job = environment.get("TORCHELASTIC_RUN_ID", "")
        return Place(
            number("RANK"),
            number("WORLD_SIZE"),
            number("LOCAL_RANK"),
            number("LOCAL_WORLD_SIZE", 1),
            "" if job == "none" else job,  # torchrun's default, which every job has
            number("TORCHELASTIC_RESTART_COUNT"),
        )
    if "SLURM_STEP_NUM_TASKS" in environment and "SLURM_PROCID" in environment:  # a batch script itself is no task
        return Place(
            number("SLURM_PROCID"),
            number("SLURM_STEP_NUM_TASKS"),
            number("SLURM_LOCALID"),
            _first_number(environment.get("SLURM_STEP_TASKS_PER_NODE", "1")),
            f"slurm-{environment.get('SLURM_JOB_ID', '')}.{environment.get('SLURM_STEP_ID', '')}",
            number("SLURM_RESTART_COUNT"),
        )
    return Place()


def _first_number(text: str) -> int:
    """The 4 of Slurm's `4(x2),3`."""
    digits = text.partition("(")[0].partition(",")[0]
    return int(digits) if digits.isdecimal() else 1


class Team:
    """The processes of a run as one of them sees them; this class is that of a process alone."""

    def __init__(self, place: Place | None = None) -> None:
        self.place = place or Place()

    @property
    def rank(self) -> int:
        """Number of this process."""
        return self.place.rank

    @property
    def size(self) -> int:
        """Processes in all."""
        return self.place.size

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module as it is called in training: its gradients become means over the processes."""
        return module

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over the processes, in place."""
        return tensor

    def broadcast(self, value: Value) -> Value:
        """The value of process 0."""
        return value

    def gather(self, values: Sequence[Value]) -> list[Value]:
        """All values of all processes, process by process."""
        return list(values)

    def agree(self, total_steps: int, stop: bool) -> tuple[int, bool]:
        """Process 0's number of steps, and whether any of them is to stop."""
        return total_steps, stop

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Wait at the end for the others.

        Raises:
            TrainingError: One of them ended before.
        """
        yield


class Ranks(Team):
    """A process among several. All of them must make the same calls in the same order."""

    def __init__(self, place: Place, device: torch.device) -> None:
        super().__init__(place)
        self.device = device
        if device.type == "cuda":
            torch.cuda.set_device(device)  # or each process makes a context on the first GPU, too
        _connect(place, device)

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with DistributedDataParallel around it."""
        return nn.parallel.DistributedDataParallel(
            module, device_ids=[self.device] if self.device.type == "cuda" else None
        )

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over the processes, in place."""
        torch.distributed.all_reduce(tensor)
        return tensor

    def broadcast(self, value: Value) -> Value:
        """The value of process 0."""
        values = [value]
        torch.distributed.broadcast_object_list(values)
        return values[0]

    def gather(self, values: Sequence[Value]) -> list[Value]:
        """All values of all processes, process by process."""
        parts: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(parts, list(values))
        return [value for part in parts for value in part]

    def agree(self, total_steps: int, stop: bool) -> tuple[int, bool]:
        """Process 0's number of steps, and whether any of them is to stop."""
        wishes = torch.tensor([total_steps if self.is_main else 0, int(stop)])  # on the host: no GPU waits for it
        total_steps, n_stops = self.sum(wishes).tolist()
        return total_steps, n_stops > 0

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Wait at the end for the others, and part.

        Raises:
            TrainingError: One of them ended before.
        """
        try:
            yield
            self.sum(torch.zeros(1))
        except BaseException as error:
            self._part(is_failure=True)
            if isinstance(error, torch.distributed.DistError) or (
                isinstance(error, RuntimeError) and "gloo" in str(error)
            ):
                raise TrainingError(f"{LOST}: {str(error).splitlines()[0]}") from error
            raise
        self._part(is_failure=False)

    def _part(self, *, is_failure: bool) -> None:
        """Leave the process group. After a failure NCCL is aborted: destroying it would wait for what never comes."""
        with contextlib.suppress(RuntimeError):
            if is_failure and self.device.type == "cuda":
                torch.distributed.distributed_c10d._abort_process_group()
            else:
                torch.distributed.destroy_process_group()


def join(place: Place, device: torch.device) -> Team:
    """The team of a process: it waits until all have come.

    Raises:
        TrainingError: Not all have come within half an hour.
    """
    return Team(place) if place.size == 1 else Ranks(place, device)


def is_restart(place: Place, stored_job: str | None) -> bool:
    """Whether a run directory that `stored_job` began is this job's own, from before one of its processes was lost.

    A job without a name, and a Slurm job, which may have other steps, must have been restarted.

    >>> is_restart(Place(job="a"), "a"), is_restart(Place(job="a"), "b"), is_restart(Place(n_restarts=1), "")
    (True, False, True)
    """
    is_unique = bool(place.job) and not place.job.startswith("slurm-")
    return stored_job == place.job and (is_unique or place.n_restarts > 0)


def _connect(place: Place, device: torch.device) -> None:
    """Begin the process group under a name that no earlier attempt had: torch would find their dead addresses."""
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]
    from torch.distributed.rendezvous import rendezvous

    if "RANK" not in os.environ:
        _name_slurm_host()
    os.environ |= {"RANK": str(place.rank), "WORLD_SIZE": str(place.size)}
    store, _, _ = next(iter(rendezvous("env://", timeout=PATIENCE)))
    attempt = meet(PrefixStore(f"findna/{place.job}", store), place.rank, place.size)
    torch.distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        store=PrefixStore(f"findna/{place.job}/{attempt}", store),
        rank=place.rank,
        world_size=place.size,
        timeout=PATIENCE,
    )


def _name_slurm_host() -> None:
    """Where process 0 is, from what srun tells: the first host of the step, and a port of the step's own."""
    hosts = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST", "127.0.0.1")
    step = f"{os.environ.get('SLURM_JOB_ID', '')}{os.environ.get('SLURM_STEP_ID', '')}"
    os.environ.setdefault("MASTER_ADDR", first_host(hosts))
    os.environ.setdefault("MASTER_PORT", str(15_000 + int(step or 0) % 10_000))


def first_host(hosts: str) -> str:
    """The first of Slurm's list of hosts.

    >>> first_host("gpu[03-04,9],login"), first_host("a[7]"), first_host("a-1,b")
    ('gpu03', 'a7', 'a-1')
    """
    return re.sub(r"\[([^],-]*)[^]]*\]", r"\1", hosts).replace(" ", ",").partition(",")[0]


def meet(store: Any, rank: int, size: int, *, patience: timedelta = PATIENCE) -> str:
    """The name of this attempt, once all of its processes have it.

    The store may hold what an earlier attempt left, and no variable of the environment tells attempts apart on all
    hosts: torchrun counts the restarts of its own. So process 0 makes up a name, each of the others answers it with
    one of its own, and it holds when process 0 has confirmed that very answer.

    Raises:
        TrainingError: Not all have come in time.
    """
    me = uuid.uuid4().hex
    answered = set()
    if rank == 0:
        store.set("attempt", me)
    deadline = time.monotonic() + patience.total_seconds()
    while time.monotonic() < deadline:
        attempt = me if rank == 0 else _text(store, "attempt")
        if rank == 0:
            answers = [_text(store, f"{me}/{other}") for other in range(1, size)]
            if all(answers):
                store.set(f"{me}/all", ",".join(answers))
                return me
        elif attempt:
            if attempt not in answered:
                store.set(f"{attempt}/{rank}", me)
                answered.add(attempt)
            if me in _text(store, f"{attempt}/all").split(","):
                return attempt
        time.sleep(0.02)
    raise TrainingError(f"not all of the {size} processes have come within {patience}; see what ended the others")


def _text(store: Any, key: str) -> str:
    return store.get(key).decode() if store.check([key]) else ""


def launch(arguments: Sequence[str], *, n_processes: int, max_restarts: int) -> int:
    """Run `findna` with these arguments in `n_processes` processes of this host; the exit code.

    Process 0 has this one's terminal; what the others write is shown only if it is a traceback that ended them.

    Args:
        arguments: All that follows the command's name.
        n_processes: How many.
        max_restarts: How often all are started anew when one was lost.

    Raises:
        TrainingError: One of them failed; of those, the first to fail tells why.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ[LAUNCHED] = "1"
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # one host: nothing leaves it
    is_here = Path(sys.path[0] or ".").resolve() == Path.cwd()
    command = [*([] if is_here else ["-P"]), "-m", "findna_cli", *arguments]
    with tempfile.TemporaryDirectory(prefix="findna-") as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=n_processes,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=max_restarts,
            logs_specs=DefaultLogsSpecs(folder, redirects=dict.fromkeys(range(1, n_processes), Std.ALL)),
        )
        try:
            elastic_launch(config, sys.executable)(*command)
        except ChildFailedError as error:
            return _explain(error.failures, folder)
        except SignalException as error:
            return 128 + int(error.sigval)
    return 0


def _explain(failures: Mapping[int, Any], folder: str) -> int:
    """The exit code of a command that the user must correct.

    Raises:
        TrainingError: A process failed with a message, or was killed.
    """
    causes = [failure for failure in failures.values() if LOST not in str(failure.message)]
    for failure in causes:
        if failure.error_file_data.get("findna"):  # even if the launcher ended it while it was on its way out
            sys.stderr.write(f"findna: {failure.message}\n")
            return max(int(failure.exitcode), 1)
    died = [failure for failure in causes if failure.exitcode != -signal.SIGTERM]  # which the launcher sends the rest
    first = min(died or causes or failures.values(), key=lambda failure: (failure.timestamp, failure.local_rank))
    if first.exitcode < 0:
        raise TrainingError(
            f"process {first.local_rank} was ended by {signal.Signals(-first.exitcode).name}; resume=True continues "
            "from the last checkpoint, and max_restarts=N restarts the processes"
        )
    if first.error_file_data.get("findna"):  # all are the losses of one that left no word
        sys.stderr.write(f"findna: {first.message}\n")
        return int(first.exitcode)
    for log in sorted(Path(folder).glob(f"*/attempt_*/{first.local_rank}/stderr.log"))[-1:]:
        sys.stderr.write(log.read_text(errors="replace"))
    return int(first.exitcode)


def record_failure(text: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Leave the message of an error to the process that launched this one; False where none did."""
    path = environment.get("TORCHELASTIC_ERROR_FILE")
    if LAUNCHED not in environment or not path:
        return False
    Path(path).write_text(json.dumps({"message": text, "timestamp": int(time.time()), "findna": True}))
    return True


def device_of(place: Place, name: str, pick: Callable[[str], torch.device]) -> torch.device:
    """The device of a process: a GPU of its host's for each, where that is what there is."""
    device = pick(name)
    if place.size > 1 and device.type == "cuda" and device.index is None:
        return torch.device("cuda", place.local_rank % torch.cuda.device_count())
    return device
