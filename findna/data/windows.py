"""A sequence longer than the teacher's window becomes windows that cover it, none of its bases twice."""

from collections.abc import Iterator
from typing import NamedTuple

from findna.errors import ConfigError


class Window(NamedTuple):
    """Bases [start, end) of a sequence; those from `own_start` on belong to no earlier window."""

    start: int
    end: int
    own_start: int


def iter_windows(length: int, *, size: int, stride: int) -> Iterator[Window]:
    """Yield the windows of a sequence from left to right, the last one flush with its end.

    Every base is owned by the first window that covers it. A sequence of at most `size` bases is one window.

    Raises:
        ConfigError: `stride` is not within 1 to `size`: bases would be left out.

    >>> [tuple(window) for window in iter_windows(25, size=10, stride=10)]
    [(0, 10, 0), (10, 20, 10), (15, 25, 20)]
    """
    if not 1 <= stride <= size:
        raise ConfigError(f"a stride of {stride} must lie in 1 to the window of {size} bases: else bases are skipped")
    start = owned = 0
    while start + size < length:
        yield Window(start, start + size, owned)
        start, owned = start + stride, start + size
    yield Window(max(0, length - size), length, owned)


def count_windows(length: int, *, size: int, stride: int) -> int:
    """How many windows `iter_windows` yields.

    >>> count_windows(25, size=10, stride=10)
    3
    """
    return 1 + max(0, -(-(length - size) // stride))
