"""Sizes of a network: `ModelConfig`, and those of our presets."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self, get_args

from findna.errors import ConfigError
from findna.limits import MAX_DEPTH, MAX_SIZES, MAX_TRACKS, MAX_VALUES, shown, wrong_types
from findna.settings import require, setting


def fields_of(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as a dictionary, or a ConfigError with those that are not fields of a dataclass."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"settings must be names with values, not {shown(values)}")
    known = {f.name for f in dataclasses.fields(cls)}
    if unknown := sorted(set(values) - known):
        raise ConfigError(f"unknown settings {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return dict(values)


Mixer = Literal["chordmixer", "transformer"]

ShiftLayout = Literal["published", "alternating", "two-sided", "mixed"]

SHIFT_LAYOUTS: tuple[ShiftLayout, ...] = get_args(ShiftLayout)
"""The rotation of tracks: distance and direction; see `ModelConfig.tracks`."""

_SHORT = (1, 2, 4, 8, 32)

_LONG = (1, 16, 64, 128, 256)
"""Distances of the two-sided tracks; each distance after the last is four times the one before it."""

_DEFAULT_UNSAID: dict[str, Any] = {"extended_len": 0, "mixer": "chordmixer", "shift_layout": "published"}
"""Fields that are not written if they have these values."""


class Tracks(NamedTuple):
    """The groups of channels that rotate together, and their rotations.

    Args:
        shifts: Rotation of each track, in positions; position t reads from t + shift.
        width: Channels per track; the last may have fewer.
    """

    shifts: tuple[int, ...]
    width: int


def _two_sided(distances: tuple[int, ...], n_tracks: int) -> tuple[int, ...]:
    """Shifts of the first `n_tracks` tracks: 0, then each distance to the right and to the left.

    >>> _two_sided((1, 2), 6)
    (0, 1, -1, 2, -2, 8)
    """
    farther = (distances[-1] * 4**power for power in itertools.count(1))
    both = (sign * distance for distance in itertools.chain(distances, farther) for sign in (1, -1))
    return tuple(itertools.islice(itertools.chain([0], both), n_tracks))


def _attention_parameters(channels: int) -> int:
    """Parameters of a Transformer block: two norms, and four products with biases."""
    return 2 * channels + 4 * channels * (channels + 1)


@dataclass(frozen=True)
class ModelConfig:
    """Size of a network (section 3.1 of Yu et al. 2024, arXiv:2405.08538); the defaults are the published ones.

    Args:
        channels: C, width of the residual stream.
        hidden: H, width inside a block's MLP.
        track_width: g, channels that rotate together; in a Transformer, channels per head.
        n_layers: N, each of `n_blocks` blocks.
        max_len: Maximum positions, class tokens included; sets the number of blocks per layer.
        n_class_tokens: K, zero rows appended to a sequence.
        extended_len: Maximum positions after a fine-tuning with `extend`, class tokens included; each layer then has
            additional blocks at its end. 0: not extended.
        mixer: "chordmixer", or "transformer": FinDNA-T.
        shift_layout: How the tracks of a ChordMixer rotate. "published": 0, 1, 2, 4, ..., all to one side.
            "alternating": the same, with the sign changed in every second block. "two-sided": 0, +1, -1, +2, -2, +4,
            -4, +8, -8, +32, -32. "mixed": two-sided, with short and long distances in turn.

    Raises:
        ConfigError: A size is not positive, or no base fits in; all problems at once.

    >>> ModelConfig().n_blocks, ModelConfig().n_parameters
    (10, 12651873)
    """

    channels: int = 308
    hidden: int = 512
    track_width: int = 28
    n_layers: int = 4
    max_len: int = 1010
    n_class_tokens: int = setting(10, "Class tokens per sequence (K).")
    extended_len: int = 0
    mixer: Mixer = setting("chordmixer", "chordmixer, or transformer (FinDNA-T).")
    shift_layout: ShiftLayout = setting("published", f"How tracks rotate: {', '.join(SHIFT_LAYOUTS)}.")

    def __post_init__(self) -> None:
        require(wrong_types(self))
        sizes = {name: value for name, value in vars(self).items() if name in MAX_SIZES}
        problems = [f"{n} must be at least 1, not {v!r}" for n, v in sizes.items() if v < 1 and n != "extended_len"]
        problems += [
            f"{n} must be at most {MAX_SIZES[n]:,}, not {shown(v)}" for n, v in sizes.items() if v > MAX_SIZES[n]
        ]
        if self.extended_len and self.extended_len <= self.max_len:
            problems.append(f"extended_len {self.extended_len} must be 0 or above max_len {self.max_len}")
        if self.max_len <= self.n_class_tokens:
            problems.append(f"max_len {self.max_len} leaves no base beside {self.n_class_tokens} class tokens")
        if self.shift_layout not in SHIFT_LAYOUTS:
            problems.append(f"shift_layout must be one of {', '.join(SHIFT_LAYOUTS)}, not {self.shift_layout!r}")
        if self.mixer not in ("chordmixer", "transformer"):
            problems.append(f"mixer must be chordmixer or transformer, not {self.mixer!r}")
        if self.mixer == "transformer" and not problems:
            if self.channels % self.track_width or self.track_width % 2:
                problems.append(f"heads of {self.track_width} channels must be even and divide the {self.channels}")
            if self.shift_layout != "published":
                problems.append("shift_layout is for a chordmixer: a transformer has no tracks")
            if self.extended_len:
                problems.append("extended_len is for a chordmixer: a transformer's blocks reach any length")
        require(problems)
        require(self._too_large())

    def _too_large(self) -> list[str]:
        """Sizes that are valid one by one, but too large together."""
        n_values = (self.extended_len or self.max_len) * max(self.channels, self.hidden)
        n_tracks = math.ceil(self.channels / self.track_width)
        found = (
            ("hidden values of a window", n_values, MAX_VALUES),
            ("blocks", self.depth, MAX_DEPTH),
            ("tracks", n_tracks if self.mixer == "chordmixer" else 1, MAX_TRACKS),
        )
        return [f"{n:,} {what} are more than {most:,}" for what, n, most in found if n > most]

    @property
    def window(self) -> int:
        """Maximum number of bases in a window."""
        return (self.extended_len or self.max_len) - self.n_class_tokens

    @property
    def n_blocks(self) -> int:
        """M, blocks per layer: log2 of the positions, rounded up; 1 for a Transformer."""
        return 1 if self.mixer == "transformer" else math.ceil(math.log2(self.extended_len or self.max_len))

    @property
    def depth(self) -> int:
        """Number of blocks in all layers."""
        return self.n_layers * self.n_blocks

    @property
    def n_added(self) -> int:
        """Number of blocks per layer, at its end, that an extension added."""
        return self.n_blocks - math.ceil(math.log2(self.max_len)) if self.extended_len else 0

    def tracks(self, block: int) -> Tracks:
        """The tracks of a block, counted from 0 over all layers.

        Tracks of a layer's own blocks follow `shift_layout`. Blocks that an extension added have ceil(C / (M + 1))
        channels per track and shifts 0 and powers of two up to 2^(M - 1): where rounding leaves fewer than M + 1
        tracks, the layer's own blocks have the short shifts. Every layout but "published" changes their sign, too, in
        every second block.

        >>> ModelConfig().tracks(0)
        Tracks(shifts=(0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512), width=28)
        >>> ModelConfig(shift_layout="two-sided").tracks(0).shifts
        (0, 1, -1, 2, -2, 4, -4, 8, -8, 32, -32)
        """
        sign = -1 if self.shift_layout != "published" and block % 2 else 1
        if block % self.n_blocks >= self.n_blocks - self.n_added:
            width = math.ceil(self.channels / (self.n_blocks + 1))
            first = self.n_blocks - math.ceil(self.channels / width) + 1
            return Tracks((0, *(sign * 2**power for power in range(first, self.n_blocks))), width)
        n_tracks = math.ceil(self.channels / self.track_width)
        if self.shift_layout in ("published", "alternating"):
            return Tracks(tuple(sign * (2**track // 2) for track in range(n_tracks)), self.track_width)
        distances = _LONG if self.shift_layout == "mixed" and block % 2 else _SHORT
        return Tracks(_two_sided(distances, n_tracks), self.track_width)

    @property
    def n_parameters(self) -> int:
        """Weights and biases: stem, blocks and nucleotide head."""
        block = self.hidden * (self.channels + 1) + self.channels * (self.hidden + 1)
        if self.mixer == "transformer":
            block += _attention_parameters(self.channels)
        return self.depth * block + 6 * self.channels + 5 * (self.channels + 1)

    def as_transformer(self) -> Self:
        """The Transformer of the same width with about as many parameters.

        Heads have the widest even width up to 32 channels that divides C. The depth is the one at which the MLP is
        closest to 4 C wide; its width then adjusts the number of parameters.

        >>> [(m.n_layers, m.hidden, m.track_width) for m in (ModelConfig().as_transformer(),)]
        [(11, 1245, 28)]
        """
        if self.mixer == "transformer":
            return self
        channels = self.channels
        heads = [width for width in range(2, 33, 2) if channels % width == 0]
        if not heads:
            raise ConfigError(f"a transformer's {channels} channels must be even")
        n_in_blocks = self.n_parameters - 6 * channels - 5 * (channels + 1)
        n_layers = max(1, round(n_in_blocks / (12 * channels**2)))
        n_in_mlp = n_in_blocks / n_layers - _attention_parameters(channels) - channels
        hidden = max(1, round(n_in_mlp / (2 * channels + 1)))
        return dataclasses.replace(
            self,
            mixer="transformer",
            hidden=hidden,
            track_width=heads[-1],
            n_layers=n_layers,
            extended_len=0,
            shift_layout="published",
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields by name; those of `_DEFAULT_UNSAID` only if they differ from it."""
        return {name: value for name, value in vars(self).items() if value != _DEFAULT_UNSAID.get(name)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The config that `to_dict` or `dataclasses.asdict` wrote; an unknown name is a ConfigError."""
        return cls(**fields_of(cls, values))


SIZES: dict[str, ModelConfig] = {
    "base": ModelConfig(shift_layout="two-sided"),
    "small": ModelConfig(channels=154, hidden=256, track_width=14, n_layers=2, shift_layout="two-sided"),
    "tiny": ModelConfig(channels=44, hidden=64, track_width=4, n_layers=1, shift_layout="two-sided"),
}
"""Sizes of our presets; `ModelConfig()` is the published network."""


def n_features(pools: Sequence[str], *, channels: int, n_class_tokens: int) -> int:
    """F, the number of features of these pools, as `findna.nn.pooling.pool_features` gives them.

    >>> n_features(("mean", "cls"), channels=4, n_class_tokens=3)
    16
    """
    return channels * sum(n_class_tokens if pool == "cls" else 1 for pool in pools)
