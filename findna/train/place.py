"""The rank of this process in a training, from torchrun or srun."""

import os
from collections.abc import Mapping
from typing import NamedTuple

from findna.errors import ConfigError


class Place(NamedTuple):
    """The place of a process among all.

    Args:
        rank: 0 to size - 1; process 0 writes files and messages.
        size: Number of processes.
        local_rank: Number among those of its host.
        local_size: Number of processes on its host.
        job: A name that all starts of the same job share; "" if not known.
        n_restarts: Number of restarts of this host's processes.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    job: str = ""
    n_restarts: int = 0


def find_place(environment: Mapping[str, str] = os.environ) -> Place:
    """The place of this process under torchrun or srun; without them, that of a single process.

    Raises:
        ConfigError: One of their variables is not a number.

    >>> find_place({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}).rank
    3
    """

    def number(name: str, default: int = 0) -> int:
        try:
            return int(environment.get(name, default))
        except ValueError as error:
            raise ConfigError(f"the environment variable {name} is {environment[name]!r}, no number") from error

    if "RANK" in environment and "WORLD_SIZE" in environment:
        job = environment.get("TORCHELASTIC_RUN_ID", "")
        return Place(
            number("RANK"),
            number("WORLD_SIZE"),
            number("LOCAL_RANK"),
            number("LOCAL_WORLD_SIZE", 1),
            "" if job == "none" else job,  # torchrun's default, which every job has
            number("TORCHELASTIC_RESTART_COUNT"),
        )
    if "SLURM_STEP_NUM_TASKS" in environment and "SLURM_PROCID" in environment:  # a batch script itself is not a task
        return Place(
            number("SLURM_PROCID"),
            number("SLURM_STEP_NUM_TASKS"),
            number("SLURM_LOCALID"),
            _first_number(environment.get("SLURM_STEP_TASKS_PER_NODE", "1")),
            f"slurm-{environment.get('SLURM_JOB_ID', '')}.{environment.get('SLURM_STEP_ID', '')}",
            number("SLURM_RESTART_COUNT"),
        )
    return Place()


def _first_number(text: str) -> int:
    """The 4 of Slurm's `4(x2),3`."""
    digits = text.partition("(")[0].partition(",")[0]
    return int(digits) if digits.isdecimal() else 1


def is_restart(place: Place, stored_job: str | None) -> bool:
    """Whether this is a restart of `stored_job`, which began the run directory, after one of its processes was lost.

    For a job without a name, and for a Slurm job, which may have other steps, the number of restarts decides.

    >>> is_restart(Place(job="a"), "a"), is_restart(Place(job="a"), "b"), is_restart(Place(n_restarts=1), "")
    (True, False, True)
    """
    is_unique = bool(place.job) and not place.job.startswith("slurm-")
    return stored_job == place.job and (is_unique or place.n_restarts > 0)
