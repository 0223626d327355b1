"""The plan of a sharded run: a JSON file with the place where each shard begins, made and checked once."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from findna.counts import counted
from findna.errors import ConfigError, InputError, system_reason
from findna.io.check import InputSummary, OnItem, check_inputs
from findna.io.compressed import Mark
from findna.io.files import open_regular, sha256, write_atomic
from findna.io.genome import Genome
from findna.io.ids import IdFile, IdSet, RepeatedIds
from findna.io.options import InputOptions
from findna.io.source import Begin
from findna.io.structured import parse_json
from findna.models.manifest import DIGEST, digest_of
from findna.runs.provenance import file_facts
from findna.runs.scout import Scout, taken_ids
from findna.runs.shard import Part, Shard, ShardCuts, unevenness

SCHEMA = "findna-plan/1"


class Manifest(NamedTuple):
    """The plan that `findna split` makes once for all shards.

    Args:
        batch_bases: Bases per batch; shards end at the ends of its cells. 0: the records are variants.
        options: How inputs become records, without the genome.
        inputs: Path, size, time of change and sha256 of each input.
        genome: Digest of the genome; "" without one.
        n_records: Records of all inputs.
        n_bases: Their number of bases; for variants the rows of scores.
        n_problems: Records that cannot be used.
        shards: The records of each shard and their start; None: read the inputs from their beginning.
    """

    batch_bases: int
    options: dict[str, Any]
    inputs: list[dict[str, Any]]
    genome: str
    n_records: int
    n_bases: int
    n_problems: int
    shards: list[tuple[Part, Begin | None]]

    def of(self, shard: Shard) -> tuple[Part, Begin | None]:
        """The records of a shard, and their start.

        Raises:
            ConfigError: The plan has another number of shards.
        """
        if shard.n != len(self.shards):
            raise ConfigError(f"shard {shard}: the plan has {counted(len(self.shards), 'shard')}")
        return self.shards[shard.number - 1]

    def facts(self, inputs: Sequence[str]) -> list[dict[str, Any]]:
        """The identity of the inputs, which must be those of the plan; a file with another time is read again.

        Raises:
            ConfigError: Their number differs.
            InputError: One was changed.
        """
        if len(inputs) != len(self.inputs):
            raise ConfigError(f"the plan has {counted(len(self.inputs), 'input')}, and this run has {len(inputs)}")
        facts: list[dict[str, Any]] = []
        for text, planned in zip(inputs, self.inputs, strict=True):
            found, digest = file_facts(text, is_whole=False), planned.get("sha256")
            if not found and text != planned["path"]:
                raise InputError(f"not found; the plan was made of {planned['path']}", path=text)
            is_same = all(planned.get(name) == value for name, value in found.items())
            if not is_same and (digest is None or sha256(Path(text)) != digest):
                raise InputError("changed since the plan was made: run findna split again", path=text)
            if digest is not None:
                found = {"bytes": found["bytes"], "sha256": digest}
            facts.append({"path": text, **found})
        return facts

    def check(self, options: InputOptions, genome: Genome | None, *, batch_bases: int, is_fatal: bool) -> None:
        """Refuse a run with other records or batches than the plan.

        Raises:
            ConfigError: One setting differs, or the plan has problems that end a run.
        """
        if not self.batch_bases:
            raise ConfigError("the plan is one of variants, for findna score")
        theirs, ours = {**self.options, "genome": self.genome}, {**_stored(options), "genome": _digest(genome)}
        differing = [name for name in ours if ours[name] != theirs.get(name)]
        if batch_bases != self.batch_bases:
            differing.append(f"batch_bases ({batch_bases:,}, in the plan {self.batch_bases:,})")
        if differing:
            raise ConfigError(f"the run and its plan differ in {', '.join(differing)}")
        if is_fatal and self.n_problems:
            raise ConfigError(
                f"the plan skips {counted(self.n_problems, 'record')} that cannot be used, and the run must, too"
            )

    @property
    def uneven(self) -> str:
        """A message if the shards are uneven, else ""."""
        return unevenness([part for part, _ in self.shards], self.batch_bases)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the shards; the time of a file only if its content was not read."""
        inputs = [{k: v for k, v in each.items() if k != "modified_ns" or "sha256" not in each} for each in self.inputs]
        decisive = {name: getattr(self, name) for name in ("batch_bases", "options", "genome", "n_problems")}
        return {**decisive, "inputs": inputs, "n_shards": len(self.shards)}

    def write(self, path: Path) -> None:
        """Write the JSON file, completely or not at all."""
        shards = [
            {
                **part.to_dict(),
                **({} if begin is None else {**begin._asdict(), "mark": begin.mark._asdict()}),
            }
            for part, begin in self.shards
        ]
        content = {"schema": SCHEMA, **self._asdict(), "shards": shards}
        write_atomic(path, json.dumps({**content, DIGEST: digest_of(content)}) + "\n")


def read_manifest(path: str | Path) -> Manifest:
    """The plan in a file.

    Raises:
        InputError: It is not found, damaged, was edited, or is not a plan.
    """
    try:
        with open_regular(Path(path)) as file:
            stored = parse_json(file.read())
        if stored.pop("schema") != SCHEMA:
            raise InputError(f"not a plan of this version ({SCHEMA})", path=str(path))
        if stored.pop(DIGEST) != digest_of({"schema": SCHEMA, **stored}):
            raise InputError("the plan is damaged or was edited: run findna split again", path=str(path))
        shards = [(_part(each), _begin(each)) for each in stored.pop("shards")]
        return Manifest(**stored, shards=shards)
    except OSError as error:
        raise InputError(system_reason(error), path=str(path)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError("not a plan of findna split, or damaged", path=str(path)) from error


def split(
    inputs: Sequence[str],
    options: InputOptions,
    *,
    n_shards: int,
    batch_bases: int,
    genome: Genome | None = None,
    is_fatal: bool = True,
) -> Manifest:
    """Check the inputs and divide them into shards with about the same number of bases, in one pass.

    If there are duplicate ids, two more passes follow, because a shard must know which ids are taken. Memory is 56
    bytes per cell, and about 60 per duplicate id; a temporary file has 8 bytes per record.

    Args:
        inputs: As for `read_records`; files and region strings.
        options: As for `read_records`.
        n_shards: Number of shards.
        batch_bases: Bases per batch of the runs.
        genome: As for `read_records`.
        is_fatal: Whether a record that cannot be used is an error.

    Raises:
        InputError: An input is wrong, or a record is and `is_fatal` is set.
        ConfigError: There is an input that can be read only once, or fewer than one shard.
    """
    if n_shards < 1:
        raise ConfigError(f"{n_shards} shards: there must be at least one")
    opened = nullcontext(genome) if genome or not options.genome else Genome(options.genome)
    with opened as source:
        return _split(inputs, options, source, n_shards=n_shards, batch_bases=batch_bases, is_fatal=is_fatal)


def _split(
    inputs: Sequence[str],
    options: InputOptions,
    genome: Genome | None,
    *,
    n_shards: int,
    batch_bases: int,
    is_fatal: bool,
) -> Manifest:
    facts = [file_marks(text, options) for text in inputs]

    def read(ids: IdSet, on_item: OnItem, on_record: Callable[[int], object]) -> InputSummary:
        return check_inputs(inputs, options, genome=genome, is_full=True, on_record=on_record, on_item=on_item, ids=ids)

    def scouted(ids: IdSet, own: IdSet) -> tuple[InputSummary, Scout, ShardCuts]:
        scout, cuts = Scout(own), ShardCuts(batch_bases)
        return read(ids, scout.see, lambda n_bases: scout.count(is_end=cuts.add(n_bases))), scout, cuts

    with IdFile() as file:
        summary, scout, cuts = scouted(file, file)
        repeated = file.repeated()
    if repeated:
        del scout, cuts  # as large as the new ones
        summary, scout, cuts = scouted(RepeatedIds(repeated), RepeatedIds(repeated))
    problem = summary.error()
    if is_fatal and problem is not None:
        raise problem
    if summary.unchecked:
        raise ConfigError(f"{summary.unchecked[0]} can be read only once: a plan needs files")
    parts = cuts.parts(n_shards)
    taken: dict[int, list[str]] = {}
    if scout.repeats:
        taken = taken_ids(lambda see: read(RepeatedIds(repeated), see, lambda n: None), scout.repeats, parts)
    shards = [(part, scout.begin(part, cuts, tuple(taken.get(part.shard.number, ())))) for part in parts]
    n_problems = summary.n_problems
    stored = _stored(options)
    return Manifest(batch_bases, stored, facts, _digest(genome), summary.n_records, cuts.n_bases, n_problems, shards)


def file_marks(text: str, options: InputOptions) -> dict[str, Any]:
    """The identity of an input, and the time of its last change."""
    modified = file_facts(text, is_whole=False)
    return {"path": text, **modified, **(file_facts(text, is_whole=True) if options.region is None else {})}


def _stored(options: InputOptions) -> dict[str, Any]:
    """Options in the form in which JSON restores them."""
    stored: dict[str, Any] = json.loads(json.dumps(options.facts()))
    return stored


def _digest(genome: Genome | None) -> str:
    return "" if genome is None else genome.digest


def _part(stored: Mapping[str, Any]) -> Part:
    shard = Shard(stored["number"], stored["n"])
    return Part(shard, stored["first"], stored["n_records"], stored["n_bases"], stored["n_total"])


def _begin(stored: Mapping[str, Any]) -> Begin | None:
    if "mark" not in stored:
        return None
    return Begin(stored["source"], stored["n_before"], Mark(**stored["mark"]), tuple(stored["taken"]))
