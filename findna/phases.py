"""What a long call is doing, for whoever listens: a command line shows it, a notebook need not."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str], object]

_LISTENER: ContextVar[Listener] = ContextVar("_LISTENER", default=lambda phase: None)


def enter(phase: str) -> None:
    """Say that a phase begins, such as "loading the model"."""
    _LISTENER.get()(phase)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell a listener of the phases of the calls within.

    >>> with listening(print):
    ...     enter("loading the model")
    loading the model
    """
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)
