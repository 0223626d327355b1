"""The table of a study: variants compared over seeds, and which differences exceed the noise."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

N_ERRORS = 3.0
"""Standard errors that a significant difference exceeds; the threshold is high because there are many comparisons."""

_COLUMNS = (("valid_accuracy", 4), ("effective_rank", 1), ("dissimilarity", 3))


@dataclass(frozen=True)
class Comparison:
    """A variant compared with the first.

    Args:
        name: Of the variant.
        runs: Its entries in the log, by seed.
        score: Mean over the seeds of the mean AUROC over the sets.
        difference: From the first variant's score.
        error: Standard error of the difference, from the deviation between seeds pooled over all variants; NaN if
            no variant has two seeds.
    """

    name: str
    runs: Sequence[Mapping[str, Any]]
    score: float
    difference: float
    error: float

    @property
    def is_beyond_noise(self) -> bool:
        """Whether the difference is more than `N_ERRORS` standard errors."""
        return abs(self.difference) > N_ERRORS * self.error


def compare(runs: Sequence[Mapping[str, Any]]) -> tuple[list[Comparison], float]:
    """Each variant compared with the first, and the standard deviation between seeds, pooled over all variants."""
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        grouped.setdefault(run["variant"], []).append(run)
    scores = {name: np.array([run["score"] for run in members]) for name, members in grouped.items()}
    n_free = sum(len(found) - 1 for found in scores.values())
    squares = sum(float(((found - found.mean()) ** 2).sum()) for found in scores.values())
    sd = math.sqrt(squares / n_free) if n_free else math.nan
    first = next(iter(scores.values()), np.zeros(1))
    return [
        Comparison(
            name,
            grouped[name],
            float(found.mean()),
            float(found.mean() - first.mean()),
            sd * math.sqrt(1 / len(found) + 1 / len(first)),
        )
        for name, found in scores.items()
    ], sd


def study_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """The runs of a study in Markdown: variants, their difference from the first, and whether it exceeds the noise."""
    comparisons, sd = compare(runs)
    sets = list(runs[0]["scores"])
    head = [
        "variant",
        "changes",
        "seeds",
        "AUROC",
        "difference",
        *sets,
        "masked-base accuracy",
        "rank",
        "KL",
        "seconds",
        "Mbp",
    ]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for index, one in enumerate(comparisons):
        changes = ", ".join(f"{name} {value}" for name, value in one.runs[0]["changes"].items())
        shown = f"{one.difference:+.4f}" + (" *" if one.is_beyond_noise else "") if index else ""
        cells = [one.name, changes, str(len(one.runs)), f"{one.score:.4f}", shown]
        cells += [f"{np.mean([run['scores'][name] for run in one.runs]):.4f}" for name in sets]
        cells += [_mean(one.runs, name, digits) for name, digits in _COLUMNS]
        cells += [_mean(one.runs, "seconds", 0), _mean(one.runs, "n_bases", 2, scale=1e-6)]
        lines.append(f"| {' | '.join(cells)} |")
    read_out = ", ".join(f"{name} {runs[0][name]}" for name in ("pool", "blocks", "strand") if runs[0].get(name))
    noise = "one seed per variant: the noise is not known" if math.isnan(sd) else f"{sd:.4f}"
    lines += [
        "",
        "AUROC: mean over the sets, on their validation splits, of logistic regression on frozen vectors "
        f"({read_out}). Standard deviation between seeds, pooled over the variants: {noise}. A star marks a "
        f"difference of more than {N_ERRORS:g} standard errors; without one it is within the noise and says nothing. "
        "KL: dissimilarity of the two views, equation 10, mean over positions, in nats.",
        "",
        *(f"    {command}" for command in dict.fromkeys(run["command"] for run in runs)),
    ]
    return "\n".join(lines) + "\n"


def _mean(runs: Sequence[Mapping[str, Any]], name: str, digits: int, *, scale: float = 1.0) -> str:
    values = [run[name] * scale for run in runs if name in run]
    return f"{np.mean(values):.{digits}f}" if values else ""
