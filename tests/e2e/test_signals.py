"""Ctrl-C and SIGTERM during a run that can be resumed."""

import os
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from findna_cli.signals import catch_signals, keep_signals

BOTH = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What the signals did before the test, they do after it."""
    handlers = {number: signal.getsignal(number) for number in (*BOTH, signal.SIGALRM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_signals_are_noted_as_they_come() -> None:
    caught = catch_signals()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGINT):
        os.kill(os.getpid(), number)
    assert caught == [signal.SIGTERM, signal.SIGINT, signal.SIGINT]


def test_who_asks_twice_does_not_wait() -> None:
    caught = catch_signals(once=True)
    os.kill(os.getpid(), signal.SIGINT)
    assert caught == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, signal.SIG_IGN)


class _Interrupted:
    """Ctrl-C comes while it is destroyed."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def test_a_signal_within_a_destructor_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    keep_signals()
    _Interrupted()
    with pytest.raises(KeyboardInterrupt):
        time.sleep(5)


def test_a_signal_that_the_parent_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    catch_signals()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
