"""Shards: the records of each of several jobs, divided by bases at the ends of cells."""

import re
import shlex
from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self

from findna.cells import Grid
from findna.errors import ConfigError
from findna.limits import MAX_SHARDS

_MOST_NAMED = 10
"""Missing shards that a message names."""


class Shard(NamedTuple):
    """The `number`-th of `n` parts of a run, from 1.

    >>> str(Shard.parse("3/16", {}))
    '3/16'
    """

    number: int
    n: int

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str]) -> Self:
        """The shard of `i/n`; for "auto", the one from torchrun, srun or a Slurm array.

        Raises:
            ConfigError: It is neither, or the environment names no shard.
        """
        if text == "auto":
            number, n = _from_environment(environment)
        elif match := re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text):
            number, n = map(int, match.groups())
        else:
            raise ConfigError(f"shard={text} must be i/n, such as 3/16, or auto")
        if n > MAX_SHARDS:
            raise ConfigError(f"shard={text}: there are at most {MAX_SHARDS:,} shards")
        if not 1 <= number <= n:
            raise ConfigError(f"shard={text}: there is no shard {number} of {n}; they count from 1")
        return cls(number, n)

    def __str__(self) -> str:
        return f"{self.number}/{self.n}"

    @property
    def name(self) -> str:
        """The name of a part.

        >>> Shard(3, 16).name
        'part3of16'
        """
        return f"part{self.number}of{self.n}"


class Part(NamedTuple):
    """The records of a shard.

    Args:
        shard: The shard.
        first: Index of its first record over all inputs.
        n_records: Its number of records; 0 if there are fewer cells than shards.
        n_bases: Their number of bases.
        n_total: Records of all shards.
    """

    shard: Shard
    first: int
    n_records: int
    n_bases: int
    n_total: int

    @property
    def records(self) -> range:
        """The indices of its records."""
        return range(self.first, self.first + self.n_records)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, for an output."""
        return {
            "number": self.shard.number,
            "n": self.shard.n,
            "first": self.first,
            "n_records": self.n_records,
            "n_bases": self.n_bases,
            "n_total": self.n_total,
        }


class ShardCuts:
    """Divides records, given by their numbers of bases, into shards of about the same number of bases.

    A shard ends at the end of a cell, so the batches are those of a single run. Needs 16 bytes per cell.

    Args:
        batch_bases: Bases in a batch.
    """

    def __init__(self, batch_bases: int) -> None:
        self._grid = Grid(batch_bases)
        self._n_records = self._n_bases = 0
        self._records, self._bases = array("q", [0]), array("q", [0])  # the ends of cells; the last may be open

    def add(self, n_bases: int) -> bool:
        """Add a record, with 0 bases if it has no row; returns whether a cell ends with it."""
        self._n_records += 1
        self._n_bases += n_bases
        is_end = self._grid.ends(n_bases)
        if is_end:
            self._records.append(self._n_records)
            self._bases.append(self._n_bases)
        return is_end

    @property
    def n_bases(self) -> int:
        """Bases so far."""
        return self._n_bases

    def cell_of(self, first: int) -> int:
        """The 0-based number of the cell that begins with this record."""
        return bisect_left(self._records, first)

    def part(self, shard: Shard) -> Part:
        """The records of a shard; shards are contiguous."""
        (first, begin), (last, end) = self._cut(shard.number - 1, shard.n), self._cut(shard.number, shard.n)
        return Part(shard, first, last - first, end - begin, self._n_records)

    def parts(self, n: int) -> list[Part]:
        """The records of all of n shards."""
        return [self.part(Shard(number, n)) for number in range(1, n + 1)]

    def _cut(self, index: int, n: int) -> tuple[int, int]:
        """Numbers of records and bases in the first shards."""
        if index == n:
            return self._n_records, self._n_bases
        target = self._n_bases * index / n
        cell = bisect_left(self._bases, target)
        if cell == len(self._bases) or (cell and target - self._bases[cell - 1] <= self._bases[cell] - target):
            cell -= 1
        return self._records[cell], self._bases[cell]


def missing_shards(found: Mapping[int, tuple[Path, str]], n: int) -> str:
    """A message that names the missing ones of n shards, and their files and commands if these are known; "" if none.

    Args:
        found: The file of each part, and the command that made it, by the number of the shard.
        n: Number of shards.
    """
    missing = [*islice((number for number in range(1, n + 1) if number not in found), _MOST_NAMED)]
    if not missing:
        return ""
    n_missing, more = n - len(found), ", ..." * (n - len(found) > _MOST_NAMED)
    text = f"{n_missing:,} of {n:,} shards are missing: {', '.join(map(str, missing))}{more}"
    if n_missing == 1:
        text = f"shard {missing[0]} of {n:,} is missing"
    number, (path, command) = next(iter(found.items()))
    if not all(path_of_shard(path, number, other, n) == one for other, (one, _) in found.items()):
        return text
    files = [path_of_shard(path, number, other, n) for other in missing]
    if None in files:
        return text
    names = ", ".join(map(str, files)) + more
    if there := [str(file) for file in files if file and file.is_file()]:
        return f"{text} ({names}); add {', '.join(there)} to the command"
    own = shlex.split(command)
    words = [_word_of_shard(word, path, files[0], number, missing[0], n) for word in own]
    is_named = any(word.endswith(f"{number}/{n}") for word in own)  # not with auto, which is of a job of its own
    made = f"; `{shlex.join(words)}` makes {'it' if n_missing == 1 else 'the first'}" if is_named else ""
    return f"{text} ({names}){made}"


def path_of_shard(path: Path, number: int, other: int, n: int) -> Path | None:
    """The file of another shard, by the only number in the name of this one that is the number of its shard, or None.

    >>> path_of_shard(Path("a/peaks.part2of16.h5"), 2, 3, 16), path_of_shard(Path("p02.h5"), 2, 11, 16)
    (PosixPath('a/peaks.part3of16.h5'), PosixPath('p11.h5'))
    >>> path_of_shard(Path("chr2.2.h5"), 2, 3, 16)
    """
    own, new = Shard(number, n).name, Shard(other, n).name
    if own in path.name:
        return path.with_name(path.name.replace(own, new))
    places = [match for match in re.finditer(r"\d+", path.stem) if int(match[0]) == number]
    if len(places) != 1:
        return None
    start, end = places[0].span()
    return path.with_name(f"{path.name[:start]}{other:0{end - start}}{path.name[end:]}")


def _word_of_shard(word: str, path: Path, file: Path | None, number: int, other: int, n: int) -> str:
    """A word of the command that made a part, for another shard."""
    if file is not None and Path(word).name == path.name:
        return str(Path(word).with_name(file.name))
    return re.sub(rf"(^|=){number}/{n}$", rf"\g<1>{other}/{n}", word)


def unevenness(parts: Sequence[Part], batch_bases: int) -> str:
    """A message if a shard is empty, or has more than twice its share; "" otherwise.

    Args:
        parts: All shards of a run.
        batch_bases: Bases in a batch; 0: the records are variants.
    """
    total, largest = sum(part.n_bases for part in parts), max(parts, key=lambda part: part.n_bases)
    n_empty = sum(not part.n_records for part in parts)
    if not n_empty and largest.n_bases * len(parts) <= 2 * total:
        return ""
    found = [f"{n_empty:,} of {len(parts):,} {'is' if n_empty == 1 else 'are'} empty"] if n_empty else []
    if total:
        share = f"{100 * largest.n_bases / total:.0f} % of the {'bases' if batch_bases else 'variants'}"
        found.append(f"the largest has {share}")
    groups = f"findna divides the input only between groups of up to {Grid(batch_bases).most_records:,} records"
    why = "A record is not divided" if largest.n_records == 1 else groups
    return f"the shards are uneven: {', and '.join(found)}. {why}. Use fewer shards"


def _from_environment(environment: Mapping[str, str]) -> tuple[int, int]:
    """Number and count of shards.

    An array's tasks and the processes that srun starts in each of them are counted together.
    """

    def value(name: str, default: int | None = None) -> int:
        try:
            return int(environment.get(name, "" if default is None else str(default)))
        except ValueError as error:
            raise ConfigError(f"shard=auto: {name} is {environment.get(name, 'not set')}") from error

    if "RANK" in environment and "WORLD_SIZE" in environment:
        return value("RANK") + 1, value("WORLD_SIZE")
    is_array, is_step = "SLURM_ARRAY_TASK_ID" in environment, "SLURM_PROCID" in environment
    if not is_array and not is_step:
        raise ConfigError(
            "shard=auto needs torchrun (RANK, WORLD_SIZE), srun (SLURM_PROCID, SLURM_NTASKS) "
            "or a Slurm array (SLURM_ARRAY_TASK_ID): none is set; give i/n"
        )
    task, n_tasks, process, n_processes = 0, 1, 0, 1
    if is_array:
        least, step = value("SLURM_ARRAY_TASK_MIN"), value("SLURM_ARRAY_TASK_STEP", 1)
        task = (value("SLURM_ARRAY_TASK_ID") - least) // step
        n_tasks = (value("SLURM_ARRAY_TASK_MAX") - least) // step + 1
    if is_step:
        process = value("SLURM_PROCID")
        n_processes = value("SLURM_STEP_NUM_TASKS", value("SLURM_NTASKS", 1))
    return task * n_processes + process + 1, n_tasks * n_processes
