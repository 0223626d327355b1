"""Recipes: the settings of a pretraining, with its presets, and of a fine-tuning."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from findna.config import DEFAULT_POOL, parse_blocks, parse_pools
from findna.errors import ConfigError
from findna.limits import MAX_BATCH, MAX_SEED, MAX_SIZES, MAX_WINDOW
from findna.settings import Checked, require, setting
from findna.sizes import SIZES, ModelConfig, fields_of

MODEL_SETTINGS = ("mixer", "n_class_tokens", "shift_layout", "channels", "hidden", "track_width", "n_layers")
"""Fields of a network's size that a recipe can change one by one."""

AUGMENTATIONS = "MDITNR"
"""Mask, deletion, insertion, translocation, noise, reverse complement; as table 4 of the paper abbreviates them."""


def _without_student_view(values: Mapping[str, Any]) -> dict[str, Any]:
    """Translate settings with the former `student_view` "v", which exchanged the two views except for the mask."""
    exchanged = {"student_augment": "MNR", "teacher_augment": "DIT"}
    return {
        **{name: value for name, value in values.items() if name != "student_view"},
        **(exchanged if values.get("student_view") == "v" else {}),
    }


@dataclass(frozen=True)
class PretrainConfig(Checked):
    """Recipe of a pretraining; the defaults are those of the paper (section 4.1), or else of the published code.

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
    batch_size: int = setting(64, "Sequences per training step.", above=0, most=MAX_BATCH)
    alpha: float = setting(
        0.5, "Weight of masked nucleotide modelling (equation 1); 1: no distillation (CM-MNM).", least=0, most=1
    )
    contrast_start: float = setting(
        0.0, "Fraction of the run after which the contrast enters the loss.", least=0, most=1
    )
    reduction: Literal["sum", "mean"] = setting(
        "sum", '"sum": sums as in equations 2 and 7; "mean": averages over masked bases and over features.'
    )
    contrast: Literal["tokens", "features"] = setting(
        "tokens",
        'Softmax of equations 4 and 5 over the K "tokens" of a feature, or over the "features" of a token, as '
        "in the published code.",
    )
    projection: int = setting(
        0,
        "Width of an MLP between the class tokens and the contrast; it is not saved with the model. 0: none.",
        least=0,
        most=MAX_SIZES["hidden"],
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
        1.0, "Mean length of masked spans, in bases; 1: each base is masked independently.", least=1, most=MAX_WINDOW
    )
    max_indel: int = setting(20, "Maximum length of a deletion or insertion, in bases.", least=0, most=MAX_WINDOW)
    noise_sd: float = setting(0.2, "Standard deviation of the Gaussian noise on one-hot rows.", least=0, most=100)
    reverse_probability: float = setting(
        0.5, "Probability that the view with R is reverse complemented.", least=0, most=1
    )
    student_temp: float = setting(0.1, "Temperature of equation 4.", least=0.001, most=1000)
    teacher_temp: float = setting(0.04, "Temperature of equation 5.", least=0.001, most=1000)
    center_momentum: float = setting(0.996, "Beta of equation 6.", least=0, most=1)
    momentum: float = setting(0.996, "Lambda of equation 9 at the start; it rises to 1 on a cosine.", least=0, most=1)
    optimizer: Literal["adamw", "muon"] = setting(
        "adamw", '"adamw", or "muon": Muon for the matrices of the blocks, AdamW for the other weights.'
    )
    learning_rate: float = setting(3e-4, "Peak learning rate, after the warm-up.", above=0, most=1)
    warmup: float = setting(0.3, "Fraction of the steps in which the learning rate rises.", least=0, most=1)
    weight_decay: float = setting(3e-4, "Weight decay of the optimizer.", least=0, most=1)
    clip: float = setting(0.5, "Maximum norm of the gradient; 0: no limit.", least=0)
    seed: int = setting(0, "Random seed of weights, sampling and augmentation.", least=0, most=MAX_SEED)

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = []
        if self.projection and self.alpha == 1:
            problems.append("projection serves the contrast, which alpha 1 omits")
        problems += self._problems_of_views()
        if self.alpha > 0 and self.mask_fraction == 0:
            problems.append("mask_fraction 0 leaves no masked bases to learn from: it needs alpha 0")
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
        values = fields_of(cls, _without_student_view(values))
        return cls(**{**values, "model": ModelConfig.from_dict(values["model"])})

    def changed(self, **settings: Any) -> Self:
        """The same with other settings, including those of `MODEL_SETTINGS`; the window does not change.

        >>> PRESETS["tiny"].changed(n_class_tokens=1, alpha=1.0).model.window
        1000

        Raises:
            ConfigError: A setting is unknown or out of range.
        """
        own = fields_of(ModelConfig, {name: settings.pop(name) for name in MODEL_SETTINGS if name in settings})
        model = self.model
        if "n_class_tokens" in own:
            own["max_len"] = model.window + own["n_class_tokens"]
        mixer = own.pop("mixer", model.mixer)
        model = dataclasses.replace(model, **own)
        model = model.as_transformer() if mixer == "transformer" else dataclasses.replace(model, mixer=mixer)
        return dataclasses.replace(self, model=model, **fields_of(type(self), settings))


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
"""The settings that were changed at every size; docs/reproducing.md has one line per choice."""

PRESETS: dict[str, PretrainConfig] = {
    "paper": PretrainConfig(),
    "base": dataclasses.replace(_MEASURED, model=SIZES["base"], batch_size=64, learning_rate=1e-3),
    "small": dataclasses.replace(_MEASURED, model=SIZES["small"]),
    "tiny": dataclasses.replace(_MEASURED, model=SIZES["tiny"], learning_rate=4e-3),
}

_GPU_BATCH = {"base": 64, "small": 64, "tiny": 128}
"""Sequences per update and GPU: enough positions to keep it busy. Chosen by size; no GPU was measured."""


def gpu_batch_size(preset: str, n_gpus: int) -> int:
    """Sequences per update on this many GPUs; the paper's recipe keeps its own number.

    >>> gpu_batch_size("small", 8), gpu_batch_size("paper", 8)
    (512, 64)
    """
    return _GPU_BATCH[preset] * n_gpus if preset in _GPU_BATCH else PRESETS[preset].batch_size


OBJECTIVES = ("classification", "multilabel", "regression")

RATE_OF_TINY = 3e-3
"""Default learning rate of a fine-tuning for the width of the preset `tiny`; see docs/finetune.md."""


@dataclass(frozen=True)
class FinetuneConfig(Checked):
    """Recipe of a fine-tuning; see docs/finetune.md for what was measured.

    Raises:
        ConfigError: A setting is out of range or contradicts another; all problems at once.
    """

    pool: str = setting(
        "", "Features: mean, sd (standard deviation), max, min, cls (class tokens), or several, e.g. mean,cls."
    )
    blocks: str = setting("", "Blocks to read, e.g. 5,10,15,20. Default: the last block.")
    head: Literal["linear", "mlp"] = setting("linear", '"linear", or "mlp" with one hidden layer.')
    hidden: int = setting(128, "Width of the MLP's hidden layer.", above=0, most=MAX_SIZES["hidden"])
    frozen: bool = setting(False, "Train only the head, on vectors that are computed once.")
    class_tokens: bool = setting(True, "Append class tokens to each sequence.")
    window: int = setting(0, "Maximum length of a window, in bases; 0: the model's window.", least=0, most=MAX_WINDOW)
    extend: int = setting(
        0,
        "Add blocks to each layer, so that sequences of up to this many bases are not split into windows; 0: none.",
        least=0,
        most=MAX_WINDOW,
    )
    dropout: float = setting(0.1, "Dropout probability of the features and of the MLP's hidden layer.", least=0, most=1)
    mixer_dropout: float = setting(
        0.0, "Dropout probability in each block, in its MLP and in the rotated update.", least=0, most=0.9
    )
    epochs: int = setting(10, "Maximum number of passes over the training sequences.", above=0)
    batch_size: int = setting(32, "Windows per training step.", above=0, most=MAX_BATCH)
    learning_rate: float = setting(
        0.0, "Peak learning rate, after the warm-up; 0: 0.003 x 44 / channels of the pretrained model.", least=0, most=1
    )
    head_rate: float = setting(
        0.1, "Learning rate of a head that starts as a probe, as a fraction of that of the encoder.", above=0
    )
    layer_decay: float = setting(
        1.0, "Learning rate of a block, as a fraction of that of the next block.", above=0, most=1
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
        "none", '"balanced": weight each class by the inverse of its frequency; "none": equal weights.'
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
    seed: int = setting(
        0, "Random seed of the head's weights, the order, the augmentation and the split.", least=0, most=MAX_SEED
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if "cls" in self.pools and not self.class_tokens:
            raise ConfigError("pool cls needs class tokens, but class_tokens=False")
        parse_blocks(self.blocks)

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools, in order; by default the mean."""
        return parse_pools(self.pool or DEFAULT_POOL)

    def rate_for(self, channels: int) -> float:
        """The peak learning rate for a teacher with this number of channels.

        >>> FinetuneConfig().rate_for(44), FinetuneConfig(learning_rate=1e-4).rate_for(44)
        (0.003, 0.0001)
        """
        return self.learning_rate or RATE_OF_TINY * SIZES["tiny"].channels / channels

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The config that `dataclasses.asdict` wrote; an unknown name is a ConfigError.

        A setting that is missing in it gets the value that findna used before the setting existed.
        """
        return cls(**{"select": "loss", "head_rate": 1.0, "strand": "bed", **fields_of(cls, values)})
