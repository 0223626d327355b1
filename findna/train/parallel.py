"""The processes that train together: how they start, connect, agree, and continue if one is lost.

Each has a rank, which torchrun, `findna pretrain` (torch.distributed.launcher) and Slurm's srun put into the
environment. DistributedDataParallel averages the gradients. One process alone needs none of this.
"""

import contextlib
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from findna.errors import TrainingError
from findna.train.place import Place

PATIENCE = timedelta(minutes=30)
"""Maximum wait for other processes: one may take longer to read the sources."""

LOST = "lost another process of the run"

Value = TypeVar("Value")


class Team:
    """The processes of a run, seen from one of them. This class is for a single process."""

    def __init__(self, place: Place | None = None) -> None:
        self.place = place or Place()

    @property
    def rank(self) -> int:
        """Number of this process."""
        return self.place.rank

    @property
    def size(self) -> int:
        """Number of processes."""
        return self.place.size

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module to call in training: its gradients are averaged over the processes."""
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
        """The number of steps of process 0, and whether any process is to stop."""
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
            torch.cuda.set_device(device)  # else each process makes a context on the first GPU, too
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
        """The number of steps of process 0, and whether any process is to stop."""
        wishes = torch.tensor([total_steps if self.is_main else 0, int(stop)])  # on the host: no GPU waits for it
        total_steps, n_stops = self.sum(wishes).tolist()
        return total_steps, n_stops > 0

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Wait at the end for the others, and disconnect.

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
        """Leave the process group. After a failure, NCCL is aborted, because destroying it would wait forever."""
        with contextlib.suppress(RuntimeError):
            if is_failure and self.device.type == "cuda":
                torch.distributed.distributed_c10d._abort_process_group()
            else:
                torch.distributed.destroy_process_group()


def join(place: Place, device: torch.device) -> Team:
    """The team of a process, once all processes are connected.

    Raises:
        TrainingError: Not all are connected within half an hour.
    """
    return Team(place) if place.size == 1 else Ranks(place, device)


def _connect(place: Place, device: torch.device) -> None:
    """Begin the process group under a new name: under that of an earlier attempt, torch finds its dead addresses."""
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
    """The address of process 0 under srun: the first host of the step, and a port for the step."""
    hosts = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST", "127.0.0.1")
    step = f"{os.environ.get('SLURM_JOB_ID', '')}{os.environ.get('SLURM_STEP_ID', '')}"
    os.environ.setdefault("MASTER_ADDR", first_host(hosts))
    os.environ.setdefault("MASTER_PORT", str(15_000 + int(step or 0) % 10_000))


def first_host(hosts: str) -> str:
    """The first host in Slurm's list.

    >>> first_host("gpu[03-04,9],login"), first_host("a[7]"), first_host("a-1,b")
    ('gpu03', 'a7', 'a-1')
    """
    return re.sub(r"\[([^],-]*)[^]]*\]", r"\1", hosts).replace(" ", ",").partition(",")[0]


def meet(store: Any, rank: int, size: int, *, patience: timedelta = PATIENCE) -> str:
    """The name of this attempt, known to all of its processes.

    The store may have entries of an earlier attempt, and no environment variable distinguishes attempts on all hosts:
    torchrun counts only its own restarts. So process 0 draws a name, each other process answers it with a name of its
    own, and the name is valid when process 0 has confirmed this answer.

    Raises:
        TrainingError: Not all are connected in time.
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


def device_of(place: Place, name: str, pick: Callable[[str], torch.device]) -> torch.device:
    """The device of a process; on GPUs, each process of a host has its own."""
    device = pick(name)
    if place.size > 1 and device.type == "cuda" and device.index is None:
        return torch.device("cuda", place.local_rank % torch.cuda.device_count())
    return device
