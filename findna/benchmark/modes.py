"""The modes and settings of a benchmark, and its report of each run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from findna.benchmark.readout import ReadOut
from findna.errors import ConfigError
from findna.recipes import FinetuneConfig

BASELINES = ("kmer", "random", "cnn")

MODES = ("probe", "finetune", *BASELINES, "random-finetune")
"""probe: logistic regression on frozen vectors; finetune: all weights. random and random-finetune: the same two for a
network with random weights."""


class Stopped(Exception):
    """The run was asked to stop. All results so far are written."""


@dataclass(frozen=True)
class BenchmarkConfig:
    """The measurements of a benchmark.

    Args:
        modes: Some of `MODES`, in their order.
        seeds: Number of seeds, starting at 0, for figures that depend on the seed.
        limit: Maximum number of training sequences per set; 0: all.
        limit_test: Maximum number of validation sequences, and of test sequences; 0: all.
        read_out: The read-out of the frozen vectors.
        finetune: Recipe of the fine-tuning; its seed is the run's.
        with_plots: Whether ROC, confusion matrix and calibration of each mode's first seed are drawn.
        command: The command line, for the report.
    """

    modes: tuple[str, ...] = ("probe", *BASELINES)
    seeds: int = 5
    limit: int = 0
    limit_test: int = 0
    read_out: ReadOut = field(default_factory=ReadOut)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    with_plots: bool = False
    command: str = ""


@dataclass(frozen=True)
class Progress:
    """The last step of a benchmark.

    Args:
        task: Name of the set.
        mode: One of `MODES`.
        seed: Of the run.
        is_new: False if an earlier result was reused.
        run: The entry in the result file.
        n_runs: Runs of this set.
    """

    task: str
    mode: str
    seed: int
    is_new: bool
    run: Mapping[str, Any]
    n_runs: int


def parse_modes(text: str) -> tuple[str, ...]:
    """The modes of a comma-separated list; "baseline" stands for kmer, random and cnn.

    Raises:
        ConfigError: One is not known.

    >>> parse_modes("probe,baseline")
    ('probe', 'kmer', 'random', 'cnn')
    """
    wanted: set[str] = set()
    for name in text.split(","):
        if name not in (*MODES, "baseline"):
            raise ConfigError(f"mode must be some of {', '.join(MODES)}, baseline, separated by commas, not {name!r}")
        wanted |= set(BASELINES) if name == "baseline" else {name}
    return tuple(mode for mode in MODES if mode in wanted)
