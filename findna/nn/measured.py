"""The fastest kernels by GPU, size and pass: the rows of `measured.tsv`."""

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import NamedTuple

import torch


class FastestWay(NamedTuple):
    """One row of `measured.tsv`: the fastest method for a GPU, size and pass.

    Args:
        capability: Compute capability of the GPU, such as 90.
        channels: C of the network.
        hidden: H of the network.
        is_training: Whether a backward pass was also measured.
        precision: Name of the precision.
        way: The fastest of `WAYS`.
    """

    capability: int
    channels: int
    hidden: int
    is_training: bool
    precision: str
    way: str


def parse_measured(text: str) -> tuple[FastestWay, ...]:
    """The rows of a table as `tests/gpu/table.py` writes it: a header, then one tab-separated row per measurement.

    >>> parse_measured("capability\\tchannels\\n90\\t308\\t512\\ttraining\\tbf16\\ttriton\\t1.5e6\\tsome GPU")[0].way
    'triton'
    """
    rows = [line.split("\t") for line in text.splitlines()[1:] if line.strip()]
    return tuple(
        FastestWay(int(capability), int(channels), int(hidden), kind == "training", precision, way)
        for capability, channels, hidden, kind, precision, way, *_ in rows
    )


@cache
def measured() -> tuple[FastestWay, ...]:
    """The table in the package; empty if no GPU was measured."""
    return parse_measured((resources.files("findna.nn") / "measured.tsv").read_text())


def order(rows: Sequence[FastestWay], sought: FastestWay) -> tuple[str, ...]:
    """The methods to try, in order: the fastest one measured for this GPU, size and pass, then plain torch.

    Args:
        rows: The measurements.
        sought: The GPU, size and pass; its method does not matter.
    """
    fastest = [row.way for row in rows if row[:-1] == sought[:-1] and row.way != "plain"]
    return (*fastest[-1:], "plain")


@cache
def capability_of(device: torch.device) -> int:
    """Compute capability, such as 90; 0 if there is no such GPU."""
    if not torch.cuda.is_available():
        return 0
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor
