"""The settings of `findna benchmark`."""

from dataclasses import dataclass
from typing import Literal

from findna.errors import ConfigError
from findna.limits import MAX_SEED
from findna.recipes import PRESETS
from findna.settings import Checked, names_in, setting
from findna.sizes import SIZES

LENGTHS = (100, 250, 500, 1000, 2000, 4096, 8192)
"""Length of the sequences for timing the network, in bases."""

SPEED_PRECISIONS = ("fp32", "bf16", "bf16-stream")


@dataclass(frozen=True)
class ReadOutOptions(Checked):
    """The read-out of frozen vectors; see `findna.benchmark.readout.ReadOut`."""

    pool: str = setting(
        "",
        "Pools of the frozen vectors: mean, sd, max, min, cls, or several, e.g. mean,sd. Default: the model's own "
        "read-out; in a study the mean.",
    )
    blocks: str = setting("", "Blocks to read, e.g. 5,10,20. Default: the last block.")
    strand: Literal["both", "bed", "auto"] = setting(
        "both", "both (mean of the two strands), bed (as written), or auto (the better one on the validation split)."
    )


@dataclass(frozen=True)
class SuiteOptions(Checked):
    """The measurements on the sets of a suite."""

    mode: str = setting(
        "probe,baseline", "probe, finetune, random-finetune, baseline (kmer,random,cnn), separated by commas."
    )
    seeds: int = setting(5, "Number of seeds for methods that use one.", above=0)
    limit: int = setting(0, "Maximum number of training sequences per set; 0: all.", least=0)
    limit_test: int = setting(0, "Maximum number of validation and of test sequences; 0: same as limit.", least=0)
    window: int = setting(0, "variants: bases per window; 0: the model's window.", least=0)
    preset: str = setting("default", "Recipe of the fine-tuning, as in findna finetune.")
    epochs: int = setting(0, "Epochs of the fine-tuning; 0: as in the recipe.", least=0)
    with_plots: bool = setting(False, "Draw ROC, confusion matrix and calibration.", flag="--plots")


@dataclass(frozen=True)
class TeacherOptions(Checked):
    """The windows that a teacher is measured on."""

    holdout: tuple[str, ...] = setting(
        (), "Contigs, or one of the files, that the model was not trained on, e.g. chr8,chr20.", parse=names_in
    )
    n_windows: int = setting(20_000, "Number of training windows for the counting models.", above=0)
    n_held_out: int = setting(1000, "Number of held-out windows.", least=2)
    seed: int = setting(0, "Random seed of the sampled windows.", least=0, most=MAX_SEED)
    pool: str = setting(
        "",
        "Pools of a second read-out for nearest neighbours, beside the model's own, e.g. sd. With blocks alone: mean.",
    )
    blocks: str = setting("", "Blocks of this second read-out, e.g. 8,15. Default: the last block.")


@dataclass(frozen=True)
class StudyOptions(Checked):
    """The runs that a study compares."""

    suite: str = setting("gue", "Layout of the labelled sets.")
    preset: str = setting("tiny", f"Recipe that the variants change: {', '.join(PRESETS)}.")
    steps: int = setting(500, "Training steps per run.", above=0)
    seeds: int = setting(2, "Number of seeds per variant.", above=0)
    holdout: tuple[str, ...] = setting((), "Held-out contigs or FASTA files, e.g. chr8,chr20.", parse=names_in)
    n_windows: int = setting(20_000, "Number of windows to sample.", above=0)
    limit: int = setting(2000, "Maximum number of training sequences per set; 0: all.", least=0)
    limit_valid: int = setting(1000, "Maximum number of validation sequences per set.", least=0)


@dataclass(frozen=True)
class SpeedConfig(Checked):
    """The calls that are timed.

    Raises:
        ConfigError: A size or precision is not known, or a number is too small.
    """

    sizes: tuple[str, ...] = setting(
        ("small",),
        "Any of base, small, tiny, separated by commas.",
        flag="--size",
        parse=names_in,
        shown="small",
    )
    precisions: tuple[str, ...] = setting(
        ("fp32", "bf16"),
        "Any of fp32, bf16, bf16-stream, separated by commas.",
        flag="--precision",
        parse=names_in,
        shown="fp32,bf16",
    )
    n_bases: int = setting(max(LENGTHS), "Bases per batch.", least=max(LENGTHS))
    rounds: int = setting(3, "Maximum number of timings of each call; the best counts.", above=0)
    seconds: float = setting(
        150.0,
        "Time limit of all timings; a round that would end later does not start, except the first.",
        above=0,
    )
    with_training: bool = setting(
        True, "Also time steps of pretraining and fine-tuning.", flag="--training/--no-training"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, found, known in (("sizes", self.sizes, SIZES), ("precisions", self.precisions, SPEED_PRECISIONS)):
            if unknown := sorted(set(found) - set(known)):
                raise ConfigError(f"{name} must be some of {', '.join(known)}, not {', '.join(unknown)}")
