"""The phases of a long call, for a progress display."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Listener = Callable[[str, float, int | None], object]
"""Called with the phase, its steps done so far, and its number of steps (None if it has none)."""

T = TypeVar("T")


class Estimate(int):
    """A number of steps that is not exact."""


_LISTENER: ContextVar[Listener] = ContextVar("_LISTENER", default=lambda phase, done, total: None)
_OUTER: ContextVar[tuple[str, int, int, int] | None] = ContextVar("_OUTER", default=None)


def enter(phase: str) -> None:
    """Report the start of a phase, such as "loading the model"."""
    _LISTENER.get()(phase, 0, None)


def report(phase: str, done: float, total: int) -> None:
    """Report the progress of a phase, or of the outer phase in `within`."""
    if outer := _OUTER.get():
        phase, n_done, n_steps, size = outer
        done, total = n_done + size * done / total, n_steps
    _LISTENER.get()(phase, done, total)


@contextmanager
def within(phase: str, n_done: int, n_steps: int, *, size: int = 1) -> Iterator[None]:
    """Count what `report` says inside as progress of the next `size` steps of a phase."""
    token = _OUTER.set(_OUTER.get() or (phase, n_done, n_steps, size))
    try:
        yield
    finally:
        _OUTER.reset(token)


def track(phase: str, steps: Sequence[T]) -> Iterator[T]:
    """Yield the steps of a phase, and report before each how many are done."""
    for n_done, step in enumerate(steps):
        report(phase, n_done, len(steps))
        with within(phase, n_done, len(steps)):
            yield step


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send the phases of the calls in this block to a listener.

    >>> with listening(print):
    ...     enter("loading the model")
    ...     for strand in track("reading", "+-"):
    ...         report("windows", 3, 4)
    loading the model 0 None
    reading 0 2
    reading 0.75 2
    reading 1 2
    reading 1.75 2
    """
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)
