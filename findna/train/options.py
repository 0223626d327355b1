"""The settings of `findna pretrain` and `findna finetune` beside their recipe."""

from dataclasses import dataclass

from findna.limits import MAX_PROCESSES
from findna.recipes import OBJECTIVES, PRESETS
from findna.settings import Checked, duration, names_in, setting


@dataclass(frozen=True)
class PretrainOptions(Checked):
    """The settings of a pretraining beside its recipe and its sequences.

    Raises:
        ConfigError: A setting is out of range.
    """

    preset: str = setting(
        "small", f"Recipe: {', '.join(PRESETS)}. Default: small. The defaults shown are those of small."
    )
    initial: str = setting("", "Start from the weights of this model. Default: random weights.")
    holdout: tuple[str, ...] = setting((), "Held-out contigs or FASTA files, e.g. chr8,chr20.", parse=names_in)
    n_held_out: int = setting(128, "Maximum number of held-out windows. Default: 128.", above=0)
    time_budget: float | None = setting(
        None, "Finish the run in this time, e.g. 90s, 24m, 3h.", above=0, parse=duration
    )


@dataclass(frozen=True)
class FinetuneOptions(Checked):
    """The settings of a fine-tuning beside its recipe, its teacher and its sequences.

    Raises:
        ConfigError: A setting is out of range.
    """

    preset: str = setting(
        "default", "Recipe: default (its values are shown as defaults), or a task of the paper, e.g. emp-h3."
    )
    valid_fraction: float = setting(
        0.1, "Fraction of the training split that is used for validation if there is no validation file. Default: 0.1."
    )
    objective: str = setting("", f"{', '.join(OBJECTIVES)}. Default: inferred from the labels.")
    sequence_column: str = setting("", "Column with the sequence. Default: sequence, seq or dna.")
    label_column: str = setting("", "Column with the label. Default: label, class or target.")
    class_names: str = setting("", "Class names: a comma-separated list, or a file of lines with label, tab, name.")


@dataclass(frozen=True)
class CheckpointOptions(Checked):
    """How often a training is saved.

    Raises:
        ConfigError: A setting is out of range.
    """

    checkpoint_every: float = setting(300.0, "Time between checkpoints.", above=0, parse=duration, shown="5m")


@dataclass(frozen=True)
class ProcessOptions(Checked):
    """The processes of a pretraining.

    Raises:
        ConfigError: A setting is out of range.
    """

    n_reports: int = setting(20, "Number of times to measure the held-out windows.", above=0, most=100_000)
    gpus: int = setting(0, "Number of GPUs of this host; 0: one process.", least=0, most=MAX_PROCESSES)
    processes: int = setting(0, "Number of processes on the CPU; 0: one.", least=0, most=MAX_PROCESSES)
    max_restarts: int = setting(0, "Maximum number of restarts from the last checkpoint if a process dies.", least=0)
