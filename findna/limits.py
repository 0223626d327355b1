"""The limits of sizes, and the check that each field of a config has the right type."""

import math
from collections.abc import Mapping
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, Literal, get_origin, get_type_hints

MAX_WINDOW = 1 << 20
"""Bases per window."""

SHORT_REGION = 10
"""Regions with fewer bases are counted as short."""

MAX_CLASS_TOKENS = 1024

MAX_VALUES = 1 << 30
"""Hidden values of one window, positions times channels or hidden units: 4 GiB in float32."""

MAX_DEPTH = 4096
"""Blocks in all layers."""

MAX_TRACKS = 256

MAX_CLASSES = 1000
"""Classes of a task."""

MAX_PROCESSES = 1024
"""Processes, or parts of a run, on one machine."""

MAX_SHARDS = 100_000

MAX_THREADS = 1024

MAX_WHOLE = 10**9
"""For all whole numbers in settings without a limit of their own."""

MAX_SEED = (1 << 63) - 1

MAX_BATCH = 1 << 20
"""Sequences per update."""

MAX_SIZES: Mapping[str, int] = {
    "channels": 8192,
    "hidden": 65_536,
    "track_width": 8192,
    "n_layers": 1024,
    "n_class_tokens": MAX_CLASS_TOKENS,
    "max_len": MAX_WINDOW + MAX_CLASS_TOKENS,
    "extended_len": MAX_WINDOW + MAX_CLASS_TOKENS,
}
"""Of the fields of `ModelConfig`."""

_LONGEST_SHOWN = 40


def shown(value: object) -> str:
    """A value for a message, shortened.

    >>> shown("x"), shown(10**60)
    ("'x'", '1000000000000000000000000000000000000...')
    """
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def wrong_types(config: Any) -> list[str]:
    """Fields of a config with a wrong type, including infinity; NaN is left to the check of ranges."""
    kinds = _kinds(type(config))
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    return [
        f"{name} must be {_WORDS[kinds[name]]}, not {shown(value)}"
        for name, value in values.items()
        if kinds[name] in _WORDS and not _is_of(value, kinds[name])
    ]


_WORDS: Mapping[Any, str] = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}


def _kinds(cls: type) -> dict[str, Any]:
    return {name: str if get_origin(kind) is Literal else kind for name, kind in get_type_hints(cls).items()}


def _is_of(value: Any, kind: Any) -> bool:
    if kind in (bool, str):
        return isinstance(value, kind)
    if isinstance(value, bool):
        return False
    return isinstance(value, Integral) if kind is int else isinstance(value, Real) and not math.isinf(value)


def batch_bases_on(device: str) -> int:
    """Bases per batch that keep a kind of device, such as cuda, busy between calls."""
    return 131_072 if device == "cuda" else 16_384
