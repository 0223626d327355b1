"""Time and memory of a call, and its input sequences."""

import ctypes
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from findna.data.datasets import Corpus, corpus_of

Run = Callable[[], object]


@dataclass(frozen=True)
class TimedCase:
    """A timed case.

    Args:
        what: forward, embed, pretraining step, ...
        precision: Its name.
        lengths: Bases of the sequences, as text.
        n_bases: Bases per run.
        batch: Bases per batch.
        flops: Of one run.
        run: Does it once.
    """

    what: str
    precision: str
    lengths: str
    n_bases: int
    batch: int
    flops: float
    run: Run


def random_sequences(lengths: Sequence[int]) -> list[NDArray[np.uint8]]:
    """Codes of random bases, one sequence per length; always the same."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 4, size=length, dtype=np.uint8) for length in lengths]


def random_corpus(lengths: Sequence[int]) -> Corpus:
    """The corpus of `random_sequences`."""
    return corpus_of(random_sequences(lengths))


def seconds_of(run: Run, device: torch.device) -> tuple[float, float]:
    """Wall time and CPU time of a run, in seconds; on a GPU both are wall time."""
    began, busy = time.perf_counter(), time.process_time()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - began
    return seconds, time.process_time() - busy if device.type == "cpu" else seconds


def memory_of(run: Run, device: torch.device) -> int | None:
    """Peak memory of a first run, in bytes, beyond what was in use before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    try:
        ctypes.CDLL(None).malloc_trim(0)  # glibc returns the memory of an earlier run to the system
        Path("/proc/self/clear_refs").write_text("5")  # Linux counts the peak from here
        before, _ = _status("VmRSS"), _status("VmHWM")
    except (OSError, AttributeError, TypeError):  # another system, or another library of its
        run()
        return None
    run()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    """Bytes that Linux reports for this process under that name."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status has no {name}")
    return 1024 * int(found[1])
