"""Settings that travel together: the network's size, and the recipe of a pretraining."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from findna.errors import ConfigError


def _fields_of(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    known = {f.name for f in dataclasses.fields(cls)}
    if unknown := sorted(set(values) - known):
        raise ConfigError(f"unknown settings {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return dict(values)


def _require(problems: list[str]) -> None:
    if problems:
        raise ConfigError("; ".join(problems))


@dataclass(frozen=True)
class ModelConfig:
    """Size of a ChordMixer (section 3.1 of Yu et al. 2024, arXiv:2405.08538); the defaults are the published ones.

    Args:
        channels: C, width of the residual stream.
        hidden: H, width inside a block's MLP.
        track_width: g, channels that rotate together.
        n_layers: N, each of `n_blocks` blocks.
        max_len: Positions fed in, class tokens included; sets the number of blocks a layer.
        n_class_tokens: K, zero rows appended to a sequence.

    Raises:
        ConfigError: A size is not positive, or no base fits in; all problems at once.

    >>> ModelConfig().n_blocks, ModelConfig().n_parameters, ModelConfig().shifts
    (10, 12651873, (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512))
    """

    channels: int = 308
    hidden: int = 512
    track_width: int = 28
    n_layers: int = 4
    max_len: int = 1010
    n_class_tokens: int = 10

    def __post_init__(self) -> None:
        sizes = dataclasses.asdict(self)
        problems = [f"{name} must be at least 1, not {value!r}" for name, value in sizes.items() if value < 1]
        if self.max_len <= self.n_class_tokens:
            problems.append(f"max_len {self.max_len} leaves no base beside {self.n_class_tokens} class tokens")
        _require(problems)

    @property
    def window(self) -> int:
        """Bases in the longest sequence that is embedded in one piece."""
        return self.max_len - self.n_class_tokens

    @property
    def n_blocks(self) -> int:
        """M, blocks a layer: log2 of the positions, rounded up."""
        return math.ceil(math.log2(self.max_len))

    @property
    def shifts(self) -> tuple[int, ...]:
        """Rotation of each track, in positions: 0, 1, 2, 4, ..."""
        n_tracks = math.ceil(self.channels / self.track_width)
        return tuple(2**track // 2 for track in range(n_tracks))

    @property
    def n_parameters(self) -> int:
        """Weights and biases: stem, blocks and nucleotide head."""
        block = self.hidden * (self.channels + 1) + self.channels * (self.hidden + 1)
        return self.n_layers * self.n_blocks * block + 6 * self.channels + 5 * (self.channels + 1)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The config that `dataclasses.asdict` wrote; an unknown name is a ConfigError."""
        return cls(**_fields_of(cls, values))


SIZES: dict[str, ModelConfig] = {
    "base": ModelConfig(),
    "small": ModelConfig(channels=154, hidden=256, track_width=14, n_layers=2),
    "tiny": ModelConfig(channels=44, hidden=64, track_width=4, n_layers=1),
}


@dataclass(frozen=True)
class PretrainConfig:
    """Recipe of a pretraining; the defaults are the paper's (section 4.1), and where it is silent the published code's.

    Args:
        model: Size of student and teacher.
        epochs: Passes over the windows.
        steps: Updates in all; 0 takes them from `epochs`.
        n_windows: Windows sampled from a source of long sequences.
        min_length: Shortest crop of a window, in bases; 0 feeds whole windows. Lengths are uniform up to the window.
        batch_size: Sequences in an update.
        alpha: Weight of masked nucleotide modelling, equation 1; 1 is CM-MNM, without distillation.
        reduction: "sum" adds as in equations 2 and 7; "mean" averages over masked bases and over features.
        mask_fraction: Share of the student's bases that are masked.
        max_indel: Longest deletion and insertion, in bases.
        noise_sd: Standard deviation of the Gaussian noise on the teacher's one-hot rows.
        reverse_probability: How often the teacher sees the reverse complement.
        student_temp: Temperature of equation 4.
        teacher_temp: Temperature of equation 5.
        center_momentum: Beta of equation 6.
        momentum: Lambda of equation 9 at the start; it goes to 1 on a cosine.
        learning_rate: Peak, after the warm-up.
        warmup: Share of the steps in which the learning rate rises.
        weight_decay: Of AdamW.
        clip: Largest norm of the gradient; 0 leaves it alone.
        seed: Of weights, sampling and augmentation.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    epochs: int = 50
    steps: int = 0
    n_windows: int = 100_000
    min_length: int = 0
    batch_size: int = 64
    alpha: float = 0.5
    reduction: Literal["sum", "mean"] = "sum"
    mask_fraction: float = 0.3
    max_indel: int = 20
    noise_sd: float = 0.2
    reverse_probability: float = 0.5
    student_temp: float = 0.1
    teacher_temp: float = 0.04
    center_momentum: float = 0.996
    momentum: float = 0.996
    learning_rate: float = 3e-4
    warmup: float = 0.3
    weight_decay: float = 3e-4
    clip: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        positive = ("epochs", "n_windows", "batch_size", "student_temp", "teacher_temp", "learning_rate")
        shares = ("alpha", "mask_fraction", "reverse_probability", "center_momentum", "momentum", "warmup")
        bounded = ("learning_rate", "weight_decay")  # above 1 is a slip, and far above no float32
        natural = ("steps", "min_length", "max_indel", "noise_sd", "weight_decay", "clip", "seed")
        problems = [f"{n} must be positive, not {getattr(self, n)}" for n in positive if not getattr(self, n) > 0]
        problems += [
            f"{n} must lie in 0 to 1, not {getattr(self, n)}" for n in shares if not 0 <= getattr(self, n) <= 1
        ]
        problems += [f"{n} must be at most 1, not {getattr(self, n)}" for n in bounded if getattr(self, n) > 1]
        problems += [f"{n} must not be negative, not {getattr(self, n)}" for n in natural if not getattr(self, n) >= 0]
        if self.reduction not in ("sum", "mean"):
            problems.append(f"reduction must be sum or mean, not {self.reduction!r}")
        if self.min_length > self.model.window:
            problems.append(f"min_length {self.min_length} is above the window of {self.model.window}")
        _require(problems)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The config that `dataclasses.asdict` wrote; an unknown name is a ConfigError."""
        values = _fields_of(cls, values)
        return cls(**{**values, "model": ModelConfig.from_dict(values["model"])})


_MEASURED = PretrainConfig(
    reduction="mean", min_length=100, batch_size=4, alpha=0.95, learning_rate=2e-3, momentum=0.99, clip=1.0
)
"""What measurement changed at every size: see docs/reproducing.md, one line a choice."""

PRESETS: dict[str, PretrainConfig] = {
    "paper": PretrainConfig(),
    "base": dataclasses.replace(_MEASURED, batch_size=64, learning_rate=1e-3),
    "small": dataclasses.replace(_MEASURED, model=SIZES["small"]),
    "tiny": dataclasses.replace(_MEASURED, model=SIZES["tiny"], learning_rate=4e-3),
}


POOLINGS = ("mean", "cls", "max")
STRANDS = ("bed", "+", "-", "both")


@dataclass(frozen=True)
class EmbedConfig:
    """What is in a vector.

    Args:
        pool: What X holds: mean, cls (the K class tokens end to end) or max.
        with_cls: Whether the class tokens stand beside the vectors too, in obsm/X_cls.
        with_tokens: Whether every base's hidden state goes to a second file.
        layer: After how many layers to read; 0 is the stem, -1 the last.
        window: Longest piece of a sequence, in bases; 0 is the teacher's own.
        stride: Bases between two windows; 0 is the window.
        strand: "bed" takes each record as it is given, "+" and "-" that strand, "both" the mean of the two.
        batch_bases: Bases in a batch.
        dtype: Of the vectors in the output.

    Raises:
        ConfigError: A setting is out of range or contradicts another.
    """

    pool: str = "mean"
    with_cls: bool = False
    with_tokens: bool = False
    layer: int = -1
    window: int = 0
    stride: int = 0
    strand: str = "bed"
    batch_bases: int = 16384
    dtype: Literal["float32", "float16"] = "float32"

    def __post_init__(self) -> None:
        problems = []
        if self.pool not in POOLINGS:
            problems.append(f"pool must be one of {', '.join(POOLINGS)}, not {self.pool!r}")
        if self.strand not in STRANDS:
            problems.append(f"strand must be one of {', '.join(STRANDS)}, not {self.strand!r}")
        if self.dtype not in ("float32", "float16"):
            problems.append(f"dtype must be float32 or float16, not {self.dtype!r}")
        if self.with_tokens and self.strand == "both":
            problems.append("tokens belong to one strand: they do not go with strand both")
        if self.with_cls and self.pool == "cls":
            problems.append("with pool cls the class tokens are the vectors already")
        if self.batch_bases < 1:
            problems.append(f"batch_bases must be at least 1, not {self.batch_bases}")
        _require(problems)

    def for_model(self, model: ModelConfig) -> Self:
        """The same with layer, window and stride filled in and checked against a model.

        Raises:
            ConfigError: The model has no such layer, or its window is shorter, or bases would be left out.
        """
        layer = model.n_layers if self.layer == -1 else self.layer
        window = self.window or model.window
        stride = self.stride or window
        problems = []
        if not 0 <= layer <= model.n_layers:
            problems.append(f"layer {self.layer} must lie in 0 to {model.n_layers}, or be -1 for the last")
        if not 1 <= window <= model.window:
            problems.append(f"a window of {window} bases must lie in 1 to the teacher's {model.window}")
        elif not 1 <= stride <= window:
            problems.append(
                f"a stride of {stride} must lie in 1 to the window of {window}: else bases would be left out"
            )
        _require(problems)
        return dataclasses.replace(self, layer=layer, window=window, stride=stride)
