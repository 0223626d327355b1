"""The settings of `findna data windows`."""

from dataclasses import dataclass
from typing import Literal

from findna.errors import ConfigError
from findna.limits import MAX_SEED, MAX_WINDOW
from findna.settings import Checked, setting


@dataclass(frozen=True)
class WindowsConfig(Checked):
    """The training windows that `findna data windows` draws.

    Raises:
        ConfigError: A setting is out of range.
    """

    n: int = setting(100_000, "Number of training windows.", least=1)
    min_length: int = setting(
        100, "Minimum window length, in bases; shorter stretches of a source are skipped.", least=1, most=MAX_WINDOW
    )
    max_length: int = setting(
        1000,
        "Maximum window length, in bases; lengths from the minimum to the maximum are equally likely.",
        least=1,
        most=MAX_WINDOW,
    )
    max_n: float = setting(0.1, "Maximum N fraction of a window.", least=0, most=1)
    max_shared: float = setting(
        0.95,
        "Maximum fraction of its 31-mers that a window may share with earlier windows; 1 skips only exact "
        "duplicates, on either strand.",
        least=0,
        most=1,
    )
    exclude_kmers: int = setting(
        1,
        "Skip a window that shares this many 31-mers with excluded sequences; 1 is the strictest, and higher "
        "values keep windows that share only part of a repeat.",
        least=1,
    )
    strand: Literal["both", "+"] = setting(
        "both", '"both" reverse complements half of the windows; "+" keeps all as they are.'
    )
    n_held_out: int = setting(1000, "Maximum number of held-out windows.", least=1)
    seed: int = setting(0, "Random seed of the draws.", least=0, most=MAX_SEED)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length < self.min_length:
            raise ConfigError(f"max_length {self.max_length} must not be below min_length {self.min_length}")
