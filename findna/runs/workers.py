"""Several processes that embed, one device each; one process reads and returns the cells in order."""

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

from findna.cells import Cell, Item, whole_cells
from findna.data.ahead import ahead
from findna.errors import InputError, WorkerError
from findna.nn.device import Compute

DEPTH = 3
"""Maximum number of cells per process: one computed, one packed, one waiting."""

PATIENCE = 5.0
"""Seconds that closing waits for a process."""

MakeCells = Callable[[Iterable[Item]], Iterator[Cell]]
Load = Callable[[], MakeCells]


class Workers:
    """Processes that make cells; a context manager.

    Each gets complete cells, in turn, so the batches are those of a single process. They end with this process, for any
    reason.

    Args:
        loads: For each process, the function that loads its model; it is pickled.
        names: Names of the processes in errors.
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
        """Yield the rows of records, cell by cell, in record order.

        Memory is limited to a few cells per process.

        Args:
            items: Records, and errors in place of records to be skipped.

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
    """One process, as seen by the reading process."""

    def __init__(self, load: Load, name: str, n_threads: int) -> None:
        # They are forked from a server that has imported torch, so importing costs time and memory only once.
        context: Any = get_context("forkserver" if sys.platform == "linux" else "spawn")
        if sys.platform == "linux":
            context.set_forkserver_preload(["findna.runs.run", "findna.runs.row_makers"])
        self._name = name
        self._connection, theirs = context.Pipe()
        is_deterministic = torch.are_deterministic_algorithms_enabled()
        self._process = context.Process(
            target=_work, args=(theirs, load, n_threads, is_deterministic), name=f"findna-{name}", daemon=True
        )
        # Only the reading process handles Ctrl-C: the others inherit a blocked signal.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()

    def send(self, items: list[Item] | None) -> None:
        try:
            self._connection.send(items)
        except OSError:  # it died, perhaps with a message
            while True:
                self._message()

    def receive(self) -> Iterator[Cell]:
        """Yield the results of a cell, up to its end."""
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
    """The records of each cell; an error that ends the run comes after all complete cells."""
    try:
        yield from whole_cells(items, batch_bases)
    except InputError as fault:
        yield fault


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
        with suppress(OSError):  # nobody listens any more: raise the error here
            _send_error(connection, error)


def _send_error(connection: Connection, error: BaseException) -> None:
    try:
        connection.send(error)
    except (pickle.PicklingError, TypeError, AttributeError):
        connection.send(RuntimeError(f"{type(error).__name__}: {error}"))


def _receive(connection: Connection, inbox: "queue.SimpleQueue[list[Item] | None]") -> None:
    """Receive items at once, so that the reading process never waits; end when it has ended."""
    while True:
        try:
            inbox.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)
