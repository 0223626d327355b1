"""Groups of settings: the contents of a vector, prediction or score; where and how a command computes."""

import dataclasses
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, cast, get_args

from findna.errors import ConfigError
from findna.limits import MAX_PROCESSES, MAX_THREADS, shown
from findna.settings import Checked, names_in, require, setting
from findna.sizes import ModelConfig

POOLS = ("mean", "cls", "max", "min", "sd")
"""The pools of the hidden states of a sequence. Several are concatenated in the given order."""

DEFAULT_POOL = "mean"


def parse_pools(text: str, *, also: Sequence[str] = ()) -> tuple[str, ...]:
    """The pools of a comma-separated list.

    Args:
        text: Such as mean,sd.
        also: Other words that the list may have.

    Raises:
        ConfigError: One is not known, or is a duplicate.

    >>> parse_pools("mean,cls")
    ('mean', 'cls')
    """
    pools, known = tuple(text.split(",")), (*POOLS, *also)
    if not set(pools) <= set(known) or len(set(pools)) < len(pools):
        raise ConfigError(f"pool must be one or more of {', '.join(known)}, separated by commas, not {text!r}")
    return pools


def window_fault(window: int, *, longest: int) -> str:
    """Why a model whose longest window is given cannot have windows of this length; "" if it can."""
    if 1 <= window <= longest:
        return ""
    return f"window must be 0 to {longest:,} bases, the longest of the model, not {window:,}"


def parse_blocks(text: str, most: int | None = None) -> tuple[int, ...]:
    """The block numbers of a comma-separated list, in increasing order; () for an empty text.

    Args:
        text: Such as 5,10,20.
        most: Number of blocks of the network; None if not known yet.

    Raises:
        ConfigError: A number is not whole or not rising, or the network has no such block.

    >>> parse_blocks("5,10,20")
    (5, 10, 20)
    """
    words = text.split(",") if text else []
    blocks = [int(word) if re.fullmatch("[0-9]{1,9}", word) else -1 for word in words]
    if any(last >= block for last, block in itertools.pairwise([-1, *blocks])):
        raise ConfigError(f"blocks must be increasing numbers separated by commas, such as 5,10,20, not {shown(text)}")
    if most is not None and blocks and blocks[-1] > most:
        raise ConfigError(f"blocks {text}: the network has {most}")
    return tuple(blocks)


Strand = Literal["bed", "+", "-", "both"]
STRANDS = get_args(Strand)


@dataclass(frozen=True)
class EmbedConfig(Checked):
    """The contents of a vector.

    Args:
        pool: "": the model's own read-out, or the mean if blocks or a layer are given.
        raw: Do not standardise the values of the model's own read-out.
        layer: 0 is the stem, -1 the last.
        blocks: The values of several blocks are concatenated.
        with_cls: Whether the class tokens are stored beside the vectors, in obsm/X_cls.
        with_tokens: Whether the hidden state of every base is written to a second file.

    Raises:
        ConfigError: A setting is out of range or contradicts another.
    """

    pool: str = setting(
        "",
        "mean, sd, max, min, or several, e.g. mean,sd; also cls or tokens, alone or with others. "
        "Default: the model's own read-out, see findna model info.",
    )
    raw: bool = setting(
        False, "Do not standardise the model's own read-out; other vectors are never standardised.", flag="--raw"
    )
    with_cls: bool = False
    with_tokens: bool = False
    layer: int = setting(-1, "Layer to read; 0: stem, -1: last layer.")
    blocks: str = setting("", "Blocks to read instead of a layer, e.g. 5,10,15,20.")
    window: int = setting(0, "Bases per window; 0: the model's window.", most=float("inf"))  # `for_model` knows better
    stride: int = setting(0, "Bases between window starts; 0: the window length.")
    windows: bool = setting(False, "One row per window of each record, with its coordinates.", flag="--windows")
    strand: Strand = setting("bed", "bed (strand of each record), +, -, or both (mean of the two vectors).")
    dtype: Literal["float32", "float16"] = setting("float32", "float32, or float16 (half the size).")

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = []
        if "cls" in self.pools and len(self.pools) > 1:
            problems.append(f"with pool {self.pool} the class tokens are a part of the vectors: ask for them beside")
        if parse_blocks(self.blocks) and self.layer != -1:
            problems.append(f"give blocks or layer, not both: blocks {self.blocks}, layer {self.layer}")
        if self.with_tokens and self.strand == "both":
            problems.append("tokens cannot be combined with strand=both: they belong to one strand")
        if self.with_cls and self.pool == "cls":
            problems.append("with pool cls the class tokens are the vectors already")
        require(problems)

    @classmethod
    def asked(cls, *, pool: str = "", **settings: Any) -> Self:
        """The config of an output file; `pool` may combine "cls" and "tokens" with other pools.

        >>> config = EmbedConfig.asked(pool="mean,cls,tokens")
        >>> config.pool, config.with_cls, config.with_tokens
        ('mean', True, True)
        """
        pools = parse_pools(pool, also=("tokens",)) if pool else ()
        in_vector = ",".join(name for name in pools if name not in ("cls", "tokens"))
        alone = "cls" if "cls" in pools else "mean" if pools else ""
        return cls(
            pool=in_vector or alone,
            with_cls="cls" in pools and bool(in_vector),
            with_tokens="tokens" in pools,
            **settings,
        )

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools in X, in order; by default the mean."""
        return parse_pools(self.pool or DEFAULT_POOL)

    def depths(self, model: ModelConfig) -> tuple[int, ...]:
        """The blocks of a model after which to read; `layer` must be filled in."""
        return parse_blocks(self.blocks, model.depth) or (self.layer * model.n_blocks,)

    def for_model(self, model: ModelConfig) -> Self:
        """The same with layer, window and stride filled in and checked against a model.

        Raises:
            ConfigError: The model has no such layer or block, or its window is shorter, or bases would be skipped.
        """
        parse_blocks(self.blocks, model.depth)
        layer = model.n_layers if self.layer == -1 and not self.blocks else self.layer
        window = self.window or model.window
        stride = self.stride or window
        problems = []
        if not self.blocks and not 0 <= layer <= model.n_layers:
            problems.append(f"layer {self.layer} must lie in 0 to {model.n_layers}, or be -1 for the last")
        if fault := window_fault(window, longest=model.window):
            problems.append(fault)
        elif not 1 <= stride <= window:
            problems.append(
                f"stride must be 0 to the window of {window:,} bases, not {stride:,}: otherwise bases would be skipped"
            )
        require(problems)
        return dataclasses.replace(self, layer=layer, window=window, stride=stride)


@dataclass(frozen=True)
class ClassifyConfig(Checked):
    """The form of a prediction.

    Raises:
        ConfigError: A setting is out of range.
    """

    strand: Literal["", "bed", "+", "-", "both"] = setting(
        "", "bed (each record's own), +, -, or both (their mean). Default: the task's own."
    )
    windows: bool = setting(False, "One row per window of the task's length.", flag="--windows")
    abstain: float = setting(0.0, "Label a row `unknown` if its margin is below this; 0: never.", least=0, most=1)
    top: int = setting(0, "Write only the N most probable classes, best first; 0: all.", least=0)

    def for_task(self, objective: str, n_classes: int, strand: str) -> Self:
        """The same checked against a task, its strand filled in; `top` is at most its number of classes.

        Raises:
            ConfigError: The task is a regression, which has neither margin nor classes.
        """
        if objective == "regression" and (self.abstain or self.top):
            raise ConfigError("abstain and top need classes, and a regression has none")
        return dataclasses.replace(self, top=min(self.top, n_classes), strand=self.strand or cast(Strand, strand))


@dataclass(frozen=True)
class BasesConfig(Checked):
    """How bases are predicted, and what a track shows.

    Raises:
        ConfigError: A setting is out of range.
    """

    passes: int = setting(
        8, "N passes per window; each masks every N-th base. 0: mask one base at a time.", least=0, most=1_000_000
    )
    value: Literal["log_p", "entropy"] = setting(
        "log_p", "Value of a bedGraph or bigWig: log_p of the observed base, or entropy."
    )


@dataclass(frozen=True)
class MutagenesisConfig(Checked):
    """Which effects `findna mutagenesis` computes and draws.

    Raises:
        ConfigError: Two settings contradict each other.
    """

    task: str = setting("", "Measure this task's prediction, not the model's: a built-in task, or a run directory.")
    label: str = setting("", "Class of the task. Default: the second of two classes.")
    pairs: bool = setting(False, "Also compute the dependencies between positions (not of a task).", flag="--pairs")
    plot: str = setting(
        "", "Figure of the first record (.png, .svg, .pdf); with pairs, a second one with .pairs before the ending."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = []
        if self.pairs and self.task:
            problems.append("pairs cannot be combined with task")
        if self.label and not self.task:
            problems.append(f"label {self.label!r} needs a task, and none is given")
        require(problems)


@dataclass(frozen=True)
class ComputeConfig(Checked):
    """Where and how a command computes; `findna.nn.device.Compute` is its form on a given machine."""

    batch_bases: int = setting(0, "Bases per batch; 0: 16,384 on a CPU, 131,072 on a GPU.", least=0)
    device: str = setting("auto", "auto (a GPU if there is one), cpu, cuda, cuda:1, mps.")
    precision: str = setting(
        "auto", "auto (bf16 if supported), fp32, bf16 (matrix products), or bf16-stream (also the residual stream)."
    )
    threads: int = setting(0, "CPU threads; 0: all available CPUs.", least=0, most=MAX_THREADS, flag="--threads -t -@")
    deterministic: bool = setting(
        False, "Use only GPU kernels that give the same bits in every run.", flag="--deterministic"
    )


@dataclass(frozen=True)
class RunConfig(Checked):
    """How a command processes its inputs."""

    on_error: Literal["fail", "skip"] = setting(
        "fail", "At an invalid record, fail; or skip it and list it in the output."
    )
    resume: bool = setting(False, "Resume an interrupted run.", flag="--resume")
    force: bool = setting(False, "Replace an existing output.", flag="--force")
    workers: int = setting(
        1, "Number of processes that compute on the CPU; they share the threads.", least=1, most=MAX_PROCESSES
    )
    gpus: int = setting(
        0, "Number of GPUs, one process per GPU; 0: one process on the device.", least=0, most=MAX_PROCESSES
    )
    shard: str = setting(
        "", "i/n: the i-th of n parts, for findna merge. auto: i/n from torchrun, srun or the Slurm array."
    )
    plan: str = setting("", "Plan file of findna split: a shard then reads and checks only its own records.")


SCORES = ("llr", "distance", "influence")
"""The scores that a teacher can give a variant."""


@dataclass(frozen=True)
class ScoreConfig(Checked):
    """The scores of a variant by a model; a task has its own score.

    Raises:
        ConfigError: A score is unknown, or a number is out of range.
    """

    scores: tuple[str, ...] = setting(
        SCORES,
        "Scores of the model, separated by commas: llr, distance, influence.",
        parse=names_in,
        shown=",".join(SCORES),
    )
    window: int = setting(0, "Bases per window; 0: the model's window.", least=0)
    max_length: int = setting(50, "Skip an ALT if it or its REF has more bases than this.", least=1)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores", tuple(self.scores))
        super().__post_init__()
        if unknown := [name for name in self.scores if name not in SCORES]:
            raise ConfigError(f"score {unknown[0]!r} is not known: choose from {', '.join(SCORES)}")
        if not self.scores:
            raise ConfigError(f"at least one score is needed: choose from {', '.join(SCORES)}")
