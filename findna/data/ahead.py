"""Run an iterator ahead in a thread, so that reading and packing overlap with the matrix products."""

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar, cast

Item = TypeVar("Item")
_END = object()

PATIENCE = 2.0
"""Seconds that closing waits for the thread."""


def ahead(items: Iterable[Item], *, depth: int = 2) -> Iterator[Item]:
    """Yield `items` in order; a thread computes up to `depth` of them in advance.

    An error of the iterator is raised here at the same place. Closing this generator stops the thread after its
    current item. A thread that waits for a terminal or a pipe keeps waiting and ends with the process.
    """
    ready: queue.Queue[tuple[object, BaseException | None]] = queue.Queue(depth)
    is_closed = threading.Event()

    def put(item: object, error: BaseException | None = None) -> None:
        while not is_closed.is_set():
            with contextlib.suppress(queue.Full):
                ready.put((item, error), timeout=0.1)
                return

    def work() -> None:
        try:
            for item in items:
                put(item)
                if is_closed.is_set():
                    return
        except BaseException as error:  # raised again in the consumer's thread
            put(_END, error)
        else:
            put(_END)

    thread = threading.Thread(target=work, name="findna-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield cast(Item, item)
    finally:
        is_closed.set()
        thread.join(PATIENCE)
