"""Merges the parts of a `findna score` run."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from findna import phases
from findna.cells import CHUNK
from findna.counts import counted
from findna.errors import ConfigError, TableError
from findna.io.formats import wrong_ending
from findna.io.score_files import FILES, Format, format_of
from findna.io.spool import changes
from findna.io.summed import check_text
from findna.runs.scored import ScoredFile, ScorePart, facts_of, finished
from findna.runs.shard import missing_shards

_NOT_SHARED = ("Command", "Shard")


def merge_scores(paths: Sequence[Path], out: Path, *, force: bool = False, command: str = "") -> dict[str, Any]:
    """Write the output that one run would have written, from the parts of its shards.

    The parts may be in any order. Memory is that of one run.

    Args:
        paths: The parts, all of the format of the output.
        out: The output.
        force: Replace an existing output.
        command: The command line, for the provenance.

    Returns:
        The report, as JSON values.

    Raises:
        TableError: A part is incomplete, changed, missing, duplicate, or does not belong to the others.
        VariantError: A part is damaged.
        OutputError: The output exists or cannot be written.
        ConfigError: A part has another format than the output, or the output is a part.
    """
    kind = format_of(out.name)
    if kind is None:
        raise wrong_ending(out, ("vcf", "vcf.gz", "bcf", "tsv", "tsv.gz", "parquet"))
    for path in paths:
        if format_of(path.name) != kind:
            raise ConfigError(f"{path} cannot become {out}: parts and output have the same format")
        if out.exists() and path.exists() and out.samefile(path):
            raise ConfigError(f"the output {out} is also a part: choose another name; nothing was changed")
    ordered = _in_order(paths, kind)
    first, n_total = ordered[0][0], ordered[0][1].n_total if kind in ("vcf", "bcf") else ordered[0][1].n_total_rows
    with ExitStack() as stack:
        with ScoredFile(first, kind) as file:
            facts = {**_shared(file.facts), "Command": command or "findna merge"}
            head, longest = file.head({name: facts[name] for name in file.facts if name in facts}), file.longest
        done = {} if force else finished(out, kind, facts, longest=longest)
        if done:
            return {**_counts(ordered, [out]), **done}
        merged = stack.enter_context(FILES[kind](out, head, source=str(first), longest=longest, force=force))
        for path, part in ordered:
            n_before = merged.n_records
            if kind in ("vcf", "tsv"):
                check_text(path)
            with ScoredFile(path, kind) as file:
                for site, content in file.records():
                    if merged.n_records % CHUNK == 0:
                        phases.report("merging", merged.n_records, n_total)
                    merged.write(site, content)
            n, expected = merged.n_records - n_before, part.n_records if kind in ("vcf", "bcf") else part.n_rows
            if n != expected:
                raise TableError(f"holds {counted(n, 'record')}, but its shard has {expected:,}", path=path)
        outputs = merged.finish()
    return _counts(ordered, outputs)


def _counts(parts: Sequence[tuple[Path, ScorePart]], outputs: Sequence[Path]) -> dict[str, Any]:
    last = parts[-1][1]
    return {
        "outputs": [str(path) for path in outputs],
        "n_parts": len(parts),
        "n_records": last.n_total,
        "n_rows": last.n_total_rows,
    }


def _shared(facts: Mapping[str, str]) -> dict[str, str]:
    """The common facts of the parts of one run."""
    return {name: text for name, text in facts.items() if name not in _NOT_SHARED}


def _in_order(paths: Sequence[Path], kind: Format) -> list[tuple[Path, ScorePart]]:
    """The parts by the number of their shard.

    Raises:
        TableError: They do not belong together, or are not all there.
    """
    found: dict[int, tuple[Path, ScorePart]] = {}
    identity: dict[str, Any] = {}
    commands: dict[int, str] = {}
    for path in paths:
        with ScoredFile(path, kind) as file:
            part = ScorePart.parse(file.facts.get("Shard", ""))
            mine, command = facts_of(file.facts), file.facts.get("Command", "").partition("; Date=")[0]
        if part is None:
            raise TableError(
                "is the output of a complete run, not a part; a run with shard=i/n writes a part", path=path
            )
        mine |= {"number of shards": part.shard.n, "number of records": part.n_total}
        for name in ("genome", "input"):  # these of a copy may differ
            for fact in ("path", "modified_ns"):
                mine[name].pop(fact, None)
        if differing := changes(identity or mine, mine, is_part=True):
            raise TableError(f"does not belong to {paths[0]}: {differing}", path=path)
        identity = mine
        if other := found.get(part.shard.number):
            raise TableError(f"is shard {part.shard}, and so is {other[0]}", path=path)
        found[part.shard.number] = (path, part)
        commands[part.shard.number] = command
    n = next(iter(found.values()))[1].shard.n
    if missing := missing_shards({number: (path, commands[number]) for number, (path, _) in found.items()}, n):
        raise TableError(missing)
    return [found[number] for number in range(1, n + 1)]
