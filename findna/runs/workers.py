"""Several processes that embed, a device each; one of them reads, and gives the cells back in their order."""

import itertools
import os
import pickle
import queue
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Self

import torch

from findna.cells import Cell, Grid, Item, count_item
from findna.data.ahead import ahead
from findna.errors import InputError, WorkerError
from findna.nn.device import Compute

DEPTH = 3
"""Cells that a process has at most: one it computes, one it packs, one that waits."""

PATIENCE = 5.0
"""Seconds that closing waits for a process."""

MakeCells = Callable[[Iterable[Item]], Iterator[Cell]]
Load = Callable[[], MakeCells]


class Workers:
    """Processes that make cells; a context manager.

    Each gets whole cells, in turn, and makes of them the batches that one process would make. They end with this
    one, however it ends.

    Args:
        loads: For each process what loads the model there; it is pickled.
        names: What the processes are called in an error.
        compute: How they compute; they share its threads.
    """

    def __init__(self, loads: Sequence[Load], names: Sequence[str], *, compute: Compute) -> None:
        self._batch_bases = compute.batch_bases
        n_threads = max(1, compute.threads // len(loads))
        self._workers: list[_Worker] = []
        try:
            for load, name in zip(loads, names, strict=True):
                self._workers.append(_Worker(load, name, n_threads))
        except BaseException:
            self.close()
            raise

    def cells(self, items: Iterable[Item]) -> Iterator[Cell]:
        """Yield the rows of records, a cell at a time, in the order of the records.

        Memory is a few cells a process, however long the input is.

        Args:
            items: Records, and in their places the faults of those that are to be skipped.

        Raises:
            WorkerError: A process died.
        """
        waiting: deque[_Worker] = deque()
        fault: InputError | None = None
        turns = itertools.cycle(self._workers)
        with closing(ahead(_whole_cells(items, self._batch_bases))) as chunks:  # type: ignore[type-var]
            for chunk in chunks:
                if isinstance(chunk, InputError):
                    fault = chunk
                    break
                if len(waiting) == DEPTH * len(self._workers):
                    yield from waiting.popleft().receive()
                worker = next(turns)
                worker.send(chunk)
                waiting.append(worker)
        for worker in self._workers:
            worker.send(None)
        while waiting:
            yield from waiting.popleft().receive()
        if fault is not None:
            raise fault

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Worker:
    """One process, seen from the one that reads."""

    def __init__(self, load: Load, name: str, n_threads: int) -> None:
        # A server that has imported torch forks them, so that importing takes one process's time and memory.
        context: Any = get_context("forkserver" if sys.platform == "linux" else "spawn")
        if sys.platform == "linux":
            context.set_forkserver_preload(["findna.runs.run"])
        self._name = name
        self._connection, theirs = context.Pipe()
        is_deterministic = torch.are_deterministic_algorithms_enabled()
        self._process = context.Process(
            target=_work, args=(theirs, load, n_threads, is_deterministic), name=f"findna-{name}", daemon=True
        )
        # Ctrl-C is for the process that reads: the others inherit that it is blocked.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()

    def send(self, items: list[Item] | None) -> None:
        try:
            self._connection.send(items)
        except OSError:  # it died; perhaps it said why
            while True:
                self._message()

    def receive(self) -> Iterator[Cell]:
        """Yield what there is of a cell, up to its end."""
        cell = self._message()
        while not cell.is_end:
            yield cell
            cell = self._message()
        yield cell

    def close(self) -> None:
        self._connection.close()
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()

    def _message(self) -> Any:
        try:
            message = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error
        if isinstance(message, BaseException):
            raise message
        return message

    def _death(self) -> WorkerError:
        self._process.join(PATIENCE)
        code = self._process.exitcode
        how = f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        hint = " (too little memory?)" if code == -signal.SIGKILL else ""
        return WorkerError(
            f"process {self._process.pid} on {self._name} {how}{hint}; "
            "what a file has so far is kept, and resume=True continues from there"
        )


def _whole_cells(items: Iterable[Item], batch_bases: int) -> Iterator[list[Item] | InputError]:
    """The records of each cell; a fault that ends the run comes as it is, after the whole cells before it."""
    grid = Grid(batch_bases)
    cell: list[Item] = []
    try:
        for item in items:
            cell.append(item)
            if grid.ends(count_item(item)):
                yield cell
                cell = []
    except InputError as fault:
        yield fault
        return
    if cell:
        yield cell


def _work(connection: Connection, load: Load, n_threads: int, is_deterministic: bool) -> None:
    inbox: queue.SimpleQueue[list[Item] | None] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, inbox), daemon=True).start()
    try:
        torch.set_num_threads(n_threads)
        torch.use_deterministic_algorithms(is_deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        items = itertools.chain.from_iterable(iter(inbox.get, None))
        for cell in load()(items):
            connection.send(cell)
    except BaseException as error:
        with suppress(OSError):  # nobody listens any more: then this is what went wrong
            _send_error(connection, error)


def _send_error(connection: Connection, error: BaseException) -> None:
    try:
        connection.send(error)
    except (pickle.PicklingError, TypeError, AttributeError):
        connection.send(RuntimeError(f"{type(error).__name__}: {error}"))


def _receive(connection: Connection, inbox: "queue.SimpleQueue[list[Item] | None]") -> None:
    """Take what comes at once, so that the process that reads never waits; end when it is gone."""
    while True:
        try:
            inbox.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)
