"""Running ahead: order, errors at their place, bounded, closed."""

import itertools
import threading
import time

import pytest

from findna.data import ahead as module
from findna.data.ahead import ahead


def n_threads():
    return sum(thread.name == "findna-ahead" for thread in threading.enumerate())


def test_items_come_in_their_order_also_none():
    assert list(ahead(iter([3, None, 1, None]))) == [3, None, 1, None]
    assert list(ahead([])) == []
    assert n_threads() == 0


def test_an_error_is_raised_at_its_place():
    def items():
        yield 1
        yield 2
        raise KeyError("third")

    stream = ahead(items())
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(KeyError, match="third"):
        next(stream)
    assert n_threads() == 0


def test_only_a_few_items_are_made_in_advance():
    made = []
    stream = ahead((made.append(i) or i for i in itertools.count()), depth=2)
    assert next(stream) == 0
    time.sleep(0.3)
    assert len(made) <= 4  # one taken, two ready, one in hand
    stream.close()
    assert n_threads() == 0


def test_closing_before_the_end_stops_the_thread():
    stream = ahead(itertools.count())
    assert next(stream) == 0
    assert n_threads() == 1
    stream.close()
    assert n_threads() == 0


def test_closing_does_not_wait_for_input_that_never_comes(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    release = threading.Event()

    def items():
        yield 1
        release.wait(30)

    stream = ahead(items())
    assert next(stream) == 1
    began = time.monotonic()
    stream.close()
    assert time.monotonic() - began < 5
    release.set()
