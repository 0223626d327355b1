"""Settings that travel together: the network's size, the recipes of a pretraining and of a fine-tuning, a vector."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self, cast, get_args

from findna.errors import ConfigError
from findna.limits import MAX_DEPTH, MAX_PROCESSES, MAX_SIZES, MAX_THREADS, MAX_TRACKS, MAX_VALUES, shown, wrong_types
from findna.settings import problems_of, require, setting


def _fields_of(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise ConfigError(f"settings must be names with values, not {shown(values)}")
    known = {f.name for f in dataclasses.fields(cls)}
    if unknown := sorted(set(values) - known):
        raise ConfigError(f"unknown settings {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return dict(values)


Mixer = Literal["chordmixer", "transformer"]

ShiftLayout = Literal["published", "alternating", "two-sided", "mixed"]
SHIFT_LAYOUTS: tuple[ShiftLayout, ...] = get_args(ShiftLayout)
"""Which track rotates by how much, and in which direction; see `ModelConfig.tracks`."""

_SHORT = (1, 2, 4, 8, 32)
_LONG = (1, 16, 64, 128, 256)
"""Distances of the two-sided tracks; each distance after the last is four times the one before it."""

_DEFAULT_UNSAID: dict[str, Any] = {"extended_len": 0, "mixer": "chordmixer", "shift_layout": "published"}
"""Fields of a network's size that are not written where they have these values."""


class Tracks(NamedTuple):
    """Which channels of a block rotate together, and by how much.

    Args:
        shifts: Rotation of each track, in positions; position t reads from t + shift.
        width: Channels of a track; the last may have fewer.
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
    """Of a Transformer's block: two norms, and four products with their biases."""
    return 2 * channels + 4 * channels * (channels + 1)


@dataclass(frozen=True)
class ModelConfig:
    """Size of a network (section 3.1 of Yu et al. 2024, arXiv:2405.08538); the defaults are the published ones.

    Args:
        channels: C, width of the residual stream.
        hidden: H, width inside a block's MLP.
        track_width: g, channels that rotate together; of a Transformer, channels of a head.
        n_layers: N, each of `n_blocks` blocks.
        max_len: Positions fed in, class tokens included; sets the number of blocks a layer.
        n_class_tokens: K, zero rows appended to a sequence.
        extended_len: Positions of a ring after a fine-tuning with `extend`, class tokens included, for which each
            layer has more blocks at its end; 0 without.
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
    n_class_tokens: int = setting(10, "Class tokens per sequence (K). Default: 10.")
    extended_len: int = 0
    mixer: Mixer = setting("chordmixer", "chordmixer, or transformer (FinDNA-T). Default: chordmixer.")
    shift_layout: ShiftLayout = setting(
        "published", f"How tracks rotate: {', '.join(SHIFT_LAYOUTS)}. Default: the preset's."
    )

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
        """Sizes that are sane one by one and ask for too much together."""
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
        """Bases in the longest sequence that is embedded in one piece."""
        return (self.extended_len or self.max_len) - self.n_class_tokens

    @property
    def n_blocks(self) -> int:
        """M, blocks a layer: log2 of the positions, rounded up; 1 of a Transformer."""
        return 1 if self.mixer == "transformer" else math.ceil(math.log2(self.extended_len or self.max_len))

    @property
    def depth(self) -> int:
        """Blocks of all layers."""
        return self.n_layers * self.n_blocks

    @property
    def n_added(self) -> int:
        """How many of a layer's blocks, its last ones, were added by an extension."""
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

        Heads have the widest even width up to 32 channels that divides C; the depth is what an MLP of 4 C would be
        closest with; then the MLP's width makes up the count, to half a unit a layer.

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
        """The fields by name; those of `_DEFAULT_UNSAID` only where they differ from it."""
        return {name: value for name, value in vars(self).items() if value != _DEFAULT_UNSAID.get(name)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The config that `to_dict` or `dataclasses.asdict` wrote; an unknown name is a ConfigError."""
        return cls(**_fields_of(cls, values))


SIZES: dict[str, ModelConfig] = {
    "base": ModelConfig(shift_layout="two-sided"),
    "small": ModelConfig(channels=154, hidden=256, track_width=14, n_layers=2, shift_layout="two-sided"),
    "tiny": ModelConfig(channels=44, hidden=64, track_width=4, n_layers=1, shift_layout="two-sided"),
}
"""Sizes of our presets; `ModelConfig()` is the published network."""


MODEL_SETTINGS = ("mixer", "n_class_tokens", "shift_layout", "channels", "hidden", "track_width", "n_layers")
"""Fields of a network's size that a recipe can change one by one."""

AUGMENTATIONS = "MDITNR"
"""Mask, deletion, insertion, translocation, noise, reverse complement; as table 4 of the paper abbreviates them."""


def _without_student_view(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a recipe in which `student_view` "v" said that the two views change places, but for the mask."""
    exchanged = {"student_augment": "MNR", "teacher_augment": "DIT"}
    return {
        **{name: value for name, value in values.items() if name != "student_view"},
        **(exchanged if values.get("student_view") == "v" else {}),
    }


@dataclass(frozen=True)
class PretrainConfig:
    """Recipe of a pretraining; the defaults are the paper's (section 4.1), where it is silent the published code's.

    Raises:
        ConfigError: A setting is out of range or contradicts another.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    epochs: int = setting(50, "Passes over the windows.", above=0)
    steps: int = setting(0, "Number of training steps; 0: computed from `epochs`.", least=0)
    n_windows: int = setting(100_000, "Number of windows sampled from long sequences.", above=0)
    min_length: int = setting(
        0,
        "Minimum length of a training crop, in bases; lengths are uniform up to the window. 0: whole windows.",
        least=0,
    )
    batch_size: int = setting(64, "Sequences per training step.", above=0)
    alpha: float = setting(
        0.5,
        "Weight of masked nucleotide modelling (equation 1); 1: no distillation (CM-MNM).",
        least=0,
        most=1,
    )
    contrast_start: float = setting(
        0.0,
        "Fraction of the run after which the contrast enters the loss.",
        least=0,
        most=1,
    )
    reduction: Literal["sum", "mean"] = setting(
        "sum",
        '"sum": sums as in equations 2 and 7; "mean": averages over masked bases and over features.',
    )
    contrast: Literal["tokens", "features"] = setting(
        "tokens",
        'Softmax of equations 4 and 5 over the K "tokens" of a feature, or over the "features" of a token, as '
        "in the published code.",
    )
    projection: int = setting(
        0,
        "Width of an MLP on the class tokens before the contrast, which is not part of the saved model; 0: none.",
        least=0,
    )
    student_augment: str = setting(
        "MDIT",
        "Augmentations of the student's view: letters of MDITNR in this order, for mask, deletion, insertion, "
        "translocation, noise and reverse complement. M is required.",
    )
    teacher_augment: str = setting(
        "NR",
        "Augmentations of the teacher's view: letters of DITNR; empty: none. Only one of the two views may have N.",
    )
    mask_fraction: float = setting(0.3, "Fraction of the student's bases that are masked.", least=0, most=1)
    mask_span: float = setting(
        1.0,
        "Mean length of masked spans, in bases; 1: each base is masked independently.",
        least=1,
    )
    max_indel: int = setting(20, "Maximum length of a deletion or insertion, in bases.", least=0)
    noise_sd: float = setting(0.2, "Standard deviation of the Gaussian noise on one-hot rows.", least=0)
    reverse_probability: float = setting(
        0.5,
        "Probability that the view with R is reverse complemented.",
        least=0,
        most=1,
    )
    student_temp: float = setting(0.1, "Temperature of equation 4.", above=0)
    teacher_temp: float = setting(0.04, "Temperature of equation 5.", above=0)
    center_momentum: float = setting(0.996, "Beta of equation 6.", least=0, most=1)
    momentum: float = setting(0.996, "Lambda of equation 9 at the start; it rises to 1 on a cosine.", least=0, most=1)
    optimizer: Literal["adamw", "muon"] = setting(
        "adamw",
        '"adamw", or "muon": Muon for the matrices of the blocks, AdamW for the other weights.',
    )
    learning_rate: float = setting(3e-4, "Peak learning rate, after the warm-up.", above=0, most=1)
    warmup: float = setting(0.3, "Fraction of the steps in which the learning rate rises.", least=0, most=1)
    weight_decay: float = setting(3e-4, "Weight decay of the optimizer.", least=0, most=1)
    clip: float = setting(0.5, "Maximum norm of the gradient; 0: no limit.", least=0)
    seed: int = setting(0, "Random seed of weights, sampling and augmentation.", least=0)

    def __post_init__(self) -> None:
        require(problems_of(self))
        problems = []
        if self.projection and self.alpha == 1:
            problems.append("projection serves the contrast, which alpha 1 omits")
        problems += self._problems_of_views()
        if self.alpha > 0 and self.mask_fraction == 0:
            problems.append("mask_fraction 0 leaves nothing to learn from masked bases: it goes with alpha 0")
        if self.min_length > self.model.window:
            problems.append(f"min_length {self.min_length} is above the window of {self.model.window}")
        require(problems)

    def _problems_of_views(self) -> list[str]:
        student, teacher = self.student_augment, self.teacher_augment
        problems = [
            f"{name} must be letters of {AUGMENTATIONS} in this order, not {text!r}"
            for name, text in (("student_augment", student), ("teacher_augment", teacher))
            if text != "".join(letter for letter in AUGMENTATIONS if letter in text)
        ]
        if "M" not in student or "M" in teacher:
            problems.append("M, the mask, must be in student_augment and not in teacher_augment")
        if "N" in student and "N" in teacher:
            problems.append("N, the noise, must be in one of student_augment and teacher_augment only")
        return problems

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The config that `dataclasses.asdict` wrote; an unknown name is a ConfigError."""
        values = _fields_of(cls, _without_student_view(values))
        return cls(**{**values, "model": ModelConfig.from_dict(values["model"])})

    def changed(self, **settings: Any) -> Self:
        """The same with other settings, those of `MODEL_SETTINGS` among them; the window stays.

        >>> PRESETS["tiny"].changed(n_class_tokens=1, alpha=1.0).model.window
        1000

        Raises:
            ConfigError: A setting is unknown or out of range.
        """
        own = _fields_of(ModelConfig, {name: settings.pop(name) for name in MODEL_SETTINGS if name in settings})
        model = self.model
        if "n_class_tokens" in own:
            own["max_len"] = model.window + own["n_class_tokens"]
        mixer = own.pop("mixer", model.mixer)
        model = dataclasses.replace(model, **own)
        model = model.as_transformer() if mixer == "transformer" else dataclasses.replace(model, mixer=mixer)
        return dataclasses.replace(self, model=model, **_fields_of(type(self), settings))


_MEASURED = PretrainConfig(
    reduction="mean",
    min_length=100,
    batch_size=8,
    alpha=0.999,
    learning_rate=2e-3,
    warmup=0.05,
    momentum=0.99,
    clip=1.0,
)
"""What measurement changed at every size: see docs/reproducing.md, one line a choice."""

PRESETS: dict[str, PretrainConfig] = {
    "paper": PretrainConfig(),
    "base": dataclasses.replace(_MEASURED, model=SIZES["base"], batch_size=64, learning_rate=1e-3),
    "small": dataclasses.replace(_MEASURED, model=SIZES["small"]),
    "tiny": dataclasses.replace(_MEASURED, model=SIZES["tiny"], learning_rate=4e-3),
}


_GPU_BATCH = {"base": 64, "small": 64, "tiny": 128}
"""Sequences in an update for each GPU: enough positions to occupy it. Chosen by size; no GPU was measured."""


def gpu_batch_size(preset: str, n_gpus: int) -> int:
    """Sequences in an update on that many GPUs; the paper's recipe keeps its own number.

    >>> gpu_batch_size("small", 8), gpu_batch_size("paper", 8)
    (512, 64)
    """
    return _GPU_BATCH[preset] * n_gpus if preset in _GPU_BATCH else PRESETS[preset].batch_size


POOLS = ("mean", "cls", "max", "min", "sd")
"""What is made of the hidden states of a sequence; several are joined in the order in which they are named."""

_POOL = "mean"


def parse_pools(text: str, *, also: Sequence[str] = ()) -> tuple[str, ...]:
    """The pools of a comma list.

    Args:
        text: As in mean,sd.
        also: What else may be in the list.

    Raises:
        ConfigError: One is not known, or is a duplicate.

    >>> parse_pools("mean,cls")
    ('mean', 'cls')
    """
    pools, known = tuple(text.split(",")), (*POOLS, *also)
    if not set(pools) <= set(known) or len(set(pools)) < len(pools):
        raise ConfigError(f"pool must be one or more of {', '.join(known)}, separated by commas, not {text!r}")
    return pools


def parse_blocks(text: str, most: int | None = None) -> tuple[int, ...]:
    """The block numbers of a comma list, rising; () of an empty one.

    Args:
        text: As in 5,10,20.
        most: Blocks of the network; None if it is not known yet.

    Raises:
        ConfigError: A number is not whole or not rising, or the network has no such block.

    >>> parse_blocks("5,10,20")
    (5, 10, 20)
    """
    words = text.split(",") if text else []
    blocks = [int(word) if word.isdecimal() else -1 for word in words]
    if any(last >= block for last, block in itertools.pairwise([-1, *blocks])):
        raise ConfigError(f"blocks must be rising numbers separated by commas, as in 5,10,20, not {text!r}")
    if most is not None and blocks and blocks[-1] > most:
        raise ConfigError(f"blocks {text}: the network has {most}")
    return tuple(blocks)


Strand = Literal["bed", "+", "-", "both"]
STRANDS = get_args(Strand)


@dataclass(frozen=True)
class EmbedConfig:
    """What is in a vector.

    Args:
        pool: "" is the model's own read-out; with blocks or a layer it is the mean.
        raw: Otherwise those of the model's own read-out are standardised.
        layer: 0 is the stem, -1 the last.
        blocks: Several stand side by side.
        with_cls: Whether the class tokens are stored next to the vectors, in obsm/X_cls.
        with_tokens: Whether every base's hidden state goes to a second file.

    Raises:
        ConfigError: A setting is out of range or contradicts another.
    """

    pool: str = setting(
        "",
        "mean, sd, max, min, or several of them, as mean,sd; cls or tokens, also together with others. "
        "Default: the model's own read-out, see findna model info.",
    )
    raw: bool = setting(
        False, "Do not standardise. Values are standardised only in the model's own read-out.", flag="--raw"
    )
    with_cls: bool = False
    with_tokens: bool = False
    layer: int = setting(-1, "Layer to read; 0: stem, -1: last layer.")
    blocks: str = setting("", "Blocks to read instead of a layer, as 5,10,15,20.")
    window: int = setting(0, "Bases per window; 0: the model's window.")
    stride: int = setting(0, "Bases between window starts; 0: the window length.")
    windows: bool = setting(False, "One row per window of each record, with its coordinates.", flag="--windows")
    strand: Strand = setting("bed", "bed (strand of each record), +, -, or both (mean of the two vectors).")
    dtype: Literal["float32", "float16"] = setting("float32", "float32, or float16 (half the size).")

    def __post_init__(self) -> None:
        require(problems_of(self))
        problems = []
        if "cls" in self.pools and len(self.pools) > 1:
            problems.append(f"with pool {self.pool} the class tokens are a part of the vectors: ask for them beside")
        if parse_blocks(self.blocks) and self.layer != -1:
            problems.append(f"blocks {self.blocks} and layer {self.layer} both say where to read")
        if self.with_tokens and self.strand == "both":
            problems.append("tokens belong to one strand: they do not go with strand both")
        if self.with_cls and self.pool == "cls":
            problems.append("with pool cls the class tokens are the vectors already")
        require(problems)

    @classmethod
    def asked(cls, *, pool: str = "", **settings: Any) -> Self:
        """The config of a file, whose `pool` may have "cls" and "tokens" next to other pools.

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
        """What X holds, in order; the mean where nothing is named."""
        return parse_pools(self.pool or _POOL)

    def depths(self, model: ModelConfig) -> tuple[int, ...]:
        """After how many blocks of a model to read; `layer` filled in."""
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
        if not 1 <= window <= model.window:
            problems.append(f"a window of {window} bases must lie in 1 to the teacher's {model.window}")
        elif not 1 <= stride <= window:
            problems.append(
                f"a stride of {stride} must lie in 1 to the window of {window}: otherwise bases would be skipped"
            )
        require(problems)
        return dataclasses.replace(self, layer=layer, window=window, stride=stride)


OBJECTIVES = ("classification", "multilabel", "regression")

RATE_OF_TINY = 3e-3
"""Default learning rate of a fine-tuning for the width of the preset `tiny`; see docs/finetune.md."""


@dataclass(frozen=True)
class FinetuneConfig:
    """Recipe of a fine-tuning; see docs/finetune.md for what was measured.

    Raises:
        ConfigError: A setting is out of range or contradicts another; all problems at once.
    """

    pool: str = setting(
        "",
        "Features: mean, sd (standard deviation), max, min (over bases), cls (class tokens), or several, as mean,cls.",
    )
    blocks: str = setting(
        "",
        "Blocks whose hidden states are read, side by side, as 5,10,15,20; otherwise the last block.",
    )
    head: Literal["linear", "mlp"] = setting("linear", '"linear", or "mlp" with one hidden layer.')
    hidden: int = setting(128, "Width of the MLP's hidden layer.", above=0)
    frozen: bool = setting(False, "Train only the head, on vectors that are computed once.")
    class_tokens: bool = setting(True, "Whether class tokens are appended to each sequence.")
    window: int = setting(0, "Maximum length of a window, in bases; 0: the model's window.", least=0)
    extend: int = setting(
        0,
        "Maximum length of a sequence that is one ring, in bases: adds blocks to each layer; 0: none.",
        least=0,
    )
    dropout: float = setting(0.1, "Dropout probability of the features and of the MLP's hidden layer.", least=0, most=1)
    mixer_dropout: float = setting(
        0.0,
        "Dropout probability in each block, in its MLP and in the rotated update.",
        least=0,
        most=1,
    )
    epochs: int = setting(10, "Maximum number of passes over the training sequences.", above=0)
    batch_size: int = setting(32, "Windows per training step.", above=0)
    learning_rate: float = setting(
        0.0,
        "Peak learning rate, after the warm-up; 0: 0.003 x 44 / channels of the pretrained model.",
        least=0,
        most=1,
    )
    head_rate: float = setting(
        0.1,
        "Learning rate of a head that starts as a probe, as a fraction of that of the encoder.",
        above=0,
    )
    layer_decay: float = setting(
        1.0,
        "Learning rate of a block, as a fraction of that of the next block.",
        above=0,
        most=1,
    )
    weight_decay: float = setting(
        0.01,
        "Weight decay of AdamW; a frozen linear head uses the penalty with the best validation metric instead.",
        least=0,
        most=1,
    )
    warmup: float = setting(0.1, "Fraction of the steps in which the learning rate rises.", least=0, most=1)
    warmup_steps: int = setting(20, "Minimum number of warm-up steps, also in a short run.", least=0)
    clip: float = setting(1.0, "Maximum norm of the gradient; 0: no limit.", least=0)
    select: Literal["auroc", "loss"] = setting(
        "auroc",
        'Validation metric that selects the epoch, and the penalty of a probe: "auroc" (mean over classes or '
        'labels) or "loss". A regression always uses the loss.',
    )
    patience: int = setting(5, "Stop after this many epochs without a better validation metric; 0: never.", least=0)
    class_weights: Literal["none", "balanced"] = setting(
        "none",
        '"balanced": weight each class by the inverse of its frequency; "none": equal weights.',
    )
    reverse_complement: float = setting(
        0.0,
        "Probability that a training sequence is reverse complemented; with strand both, 0 means 0.5.",
        least=0,
        most=1,
    )
    strand: Literal["auto", "bed", "both"] = setting(
        "auto",
        'Input of the task model: "bed" (each sequence as given), "both" (mean of the two strands), or "auto" '
        "(the one whose probe has the better validation metric).",
    )
    seed: int = setting(0, "Random seed of the head's weights, the order, the augmentation and the split.", least=0)

    def __post_init__(self) -> None:
        require(problems_of(self))
        if "cls" in self.pools and not self.class_tokens:
            raise ConfigError("pool cls needs class tokens: it does not go with class_tokens=False")
        parse_blocks(self.blocks)

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools that are joined, in order; the mean where nothing is named."""
        return parse_pools(self.pool or _POOL)

    def rate_for(self, channels: int) -> float:
        """The peak of the learning rate for a teacher of so many channels.

        >>> FinetuneConfig().rate_for(44), FinetuneConfig(learning_rate=1e-4).rate_for(44)
        (0.003, 0.0001)
        """
        return self.learning_rate or RATE_OF_TINY * SIZES["tiny"].channels / channels

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The config that `dataclasses.asdict` wrote; an unknown name is a ConfigError.

        A setting that is not in it gets the value that stands for what was done before the setting existed.
        """
        return cls(**{"select": "loss", "head_rate": 1.0, "strand": "bed", **_fields_of(cls, values)})


@dataclass(frozen=True)
class ClassifyConfig:
    """What an answer of a task model is.

    Raises:
        ConfigError: A setting is out of range.
    """

    strand: Literal["", "bed", "+", "-", "both"] = setting(
        "", "bed (each record's own), +, -, or both (their mean). Default: the task's own."
    )
    windows: bool = setting(False, "One row per window of the task's length.", flag="--windows")
    abstain: float = setting(0.0, "Label a row `unknown` if its margin is below this; 0: never.", least=0, most=1)
    top: int = setting(0, "Write only the K most probable classes, best first; 0: all.", least=0)

    def __post_init__(self) -> None:
        require(problems_of(self))

    def for_task(self, objective: str, n_classes: int, strand: str) -> Self:
        """The same checked against a task, its strand filled in; `top` is at most its number of classes.

        Raises:
            ConfigError: The task is a regression, which has neither margin nor classes.
        """
        if objective == "regression" and (self.abstain or self.top):
            raise ConfigError("a regression gives a value: it has no margin to abstain at and no classes to be on top")
        return dataclasses.replace(self, top=min(self.top, n_classes), strand=self.strand or cast(Strand, strand))


@dataclass(frozen=True)
class WindowsConfig:
    """Which windows `findna data windows` draws for a training set.

    Raises:
        ConfigError: A setting is out of range.
    """

    n: int = setting(100_000, "Number of training windows.", least=1)
    min_length: int = setting(
        100,
        "Minimum window length, in bases; shorter stretches of a source are skipped.",
        least=1,
    )
    max_length: int = setting(1000, "Maximum window length, in bases; all lengths between the two are equally likely.")
    max_n: float = setting(0.1, "Maximum N fraction of a window.", least=0, most=1)
    max_shared: float = setting(
        0.95,
        "Maximum fraction of its 31-mers that a window may share with earlier windows; 1 skips only exact "
        "duplicates, on either strand.",
        least=0,
        most=1,
    )
    exclude_words: int = setting(
        1,
        "Skip a window that shares this many 31-mers with excluded sequences; 1 is the strictest, and higher "
        "values keep windows that share only part of a repeat.",
        least=1,
    )
    strand: Literal["both", "+"] = setting(
        "both", '"both" reverse complements half of the windows; "+" keeps all as they are.'
    )
    n_held_out: int = setting(1000, "Maximum number of held-out windows.", least=1)
    seed: int = setting(0, "Random seed of the draws.", least=0)

    def __post_init__(self) -> None:
        require(problems_of(self))
        if self.max_length < self.min_length:
            raise ConfigError(f"max_length {self.max_length} must not be below min_length {self.min_length}")


@dataclass(frozen=True)
class ComputeConfig:
    """Where and how a command computes; `findna.nn.device.Compute` is what becomes of it on a machine."""

    batch_bases: int = setting(0, "Bases per batch; 0: 16,384 on a CPU, 131,072 on a GPU.", least=0)
    device: str = setting("auto", "auto (a GPU if there is one), cpu, cuda, cuda:1, mps.")
    precision: str = setting(
        "auto",
        "auto (bf16 if supported), fp32, bf16 (matrix products), or bf16-stream (also the residual stream).",
    )
    threads: int = setting(0, "CPU threads; 0: all available CPUs.", least=0, most=MAX_THREADS, flag="--threads -t -@")
    deterministic: bool = setting(
        False, "Use only GPU kernels that give the same bits in every run.", flag="--deterministic"
    )

    def __post_init__(self) -> None:
        require(problems_of(self))


@dataclass(frozen=True)
class RunConfig:
    """How a command goes through its inputs."""

    on_error: Literal["fail", "skip"] = setting(
        "fail", "fail, or skip: skip invalid records and list them in the output."
    )
    resume: bool = setting(False, "Resume an interrupted run.", flag="--resume")
    force: bool = setting(False, "Replace an existing output.", flag="--force")
    workers: int = setting(
        1, "Processes that compute rows on the CPU; they share the threads.", least=1, most=MAX_PROCESSES
    )
    gpus: int = setting(
        0, "Number of GPUs, one process per GPU; 0: one process on the device.", least=0, most=MAX_PROCESSES
    )
    shard: str = setting(
        "", "i/n: the i-th of n parts, for findna merge. auto: from torchrun, srun or the Slurm array task."
    )
    plan: str = setting("", "Plan of findna split, for a shard, which then reads and checks only its own records.")

    def __post_init__(self) -> None:
        require(problems_of(self))
