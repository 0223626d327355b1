"""Merges the parts of a `findna score` run; the facts in a scored file."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

from findna.counts import counted
from findna.errors import ConfigError, TableError
from findna.io.score_files import FILES, Format, format_of, restore_index
from findna.io.scores import FACT, TableHead
from findna.io.spool import changes
from findna.io.summed import check_text
from findna.io.tables import open_parquet
from findna.io.vcf import Site, VariantReader
from findna.runs.finished import read_output, require_same_run
from findna.runs.shard import Shard, missing_shards

_SHARD = re.compile(r"(\d+)/(\d+); records=(\d+)\+(\d+) of (\d+); rows=(\d+)\+(\d+) of (\d+)")
_WORDS = {"True": True, "False": False, "None": None}
_LENGTH = re.compile(r"##contig=<.*\blength=(\d+)")
_NOT_SHARED = ("Command", "Shard")
_IDENTITY = re.compile(r"; (sha256|digest)=([^; ]*)\Z")  # after the name of a model or file, in its header line


class ScorePart(NamedTuple):
    """The records of a shard, and their rows, one per ALT.

    Args:
        shard: The shard.
        first: Index of its first record.
        n_records: Its number of records.
        n_total: Records of all shards.
        first_row: Number of earlier rows.
        n_rows: Its number of rows.
        n_total_rows: Rows of all shards.
    """

    shard: Shard
    first: int
    n_records: int
    n_total: int
    first_row: int
    n_rows: int
    n_total_rows: int

    def __str__(self) -> str:
        return (
            f"{self.shard}; records={self.first}+{self.n_records} of {self.n_total}; "
            f"rows={self.first_row}+{self.n_rows} of {self.n_total_rows}"
        )

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The facts in the text of a part; None if it is not a part.

        >>> str(ScorePart.parse("1/2; records=0+256 of 300; rows=0+260 of 310"))
        '1/2; records=0+256 of 300; rows=0+260 of 310'
        """
        match = _SHARD.fullmatch(text)
        if not match:
            return None
        number, n, *counts = map(int, match.groups())
        return cls(Shard(number, n), *counts)

    def to_dict(self) -> dict[str, int]:
        """As JSON values, for the scores."""
        return {
            "number": self.shard.number,
            "n": self.shard.n,
            "first": self.first,
            "n_records": self.n_records,
            "n_total": self.n_total,
        }

    def of_vectors(self) -> dict[str, int]:
        """The same for the vectors, two per ALT; see `findna.runs.shard.Part.to_dict`."""
        counts = {"first": 2 * self.first_row, "n_records": 2 * self.n_rows, "n_total": 2 * self.n_total_rows}
        return {"number": self.shard.number, "n": self.shard.n, "n_bases": 0, **counts}


class ScoredFile:
    """An output of `findna score`, open for reading; a context manager.

    Args:
        path: The file.
        kind: Its format.

    Attributes:
        facts: Facts of the run in its header, by name.

    Raises:
        TableError: It is not such a file.
        VariantError: It is damaged.
    """

    def __init__(self, path: Path, kind: Format) -> None:
        self.path, self._kind, self._stack = path, kind, ExitStack()
        if kind == "parquet":
            self._table = self._stack.enter_context(open_parquet(path))
            stored = self._table.schema_arrow.metadata or {}
            pairs = [(name.decode(), text.decode()) for name, text in stored.items()]
            prefix = FACT.lstrip("#")
        else:
            self._reader = self._stack.enter_context(VariantReader(path))
            pairs = [(name, text) for name, _, text in (line.partition("=") for line in self._reader.header)]
            prefix = FACT
        self.facts = {name.removeprefix(prefix): text for name, text in pairs if name.startswith(prefix)}
        if "Version" not in self.facts:
            self._stack.close()
            raise TableError("is not an output of findna score", path=path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def head(self, facts: Mapping[str, str]) -> Any:
        """Its head with other facts instead of its own."""
        if self._kind == "parquet":
            kinds = [(field.name, str(field.type)) for field in self._table.schema_arrow]
            return TableHead(kinds, {f"{FACT.lstrip('#')}{name}": text for name, text in facts.items()})
        lines = []
        for line in self._reader.header:
            name = line.partition("=")[0].removeprefix(FACT)
            if not line.startswith(FACT) or line != f"{FACT}{name}={self.facts[name]}":
                lines.append(line)
            elif name in facts:
                lines.append(f"{FACT}{name}={facts[name]}")
        return "\n".join([*lines, "\t".join(self._reader.columns)]) + "\n"

    @property
    def longest(self) -> int:
        """Length of the longest contig in its header."""
        if self._kind == "parquet":
            return 0
        return max((int(m[1]) for m in map(_LENGTH.match, self._reader.header) if m), default=0)

    def records(self) -> Iterator[tuple[Site, Any]]:
        """Yield its lines unchanged: one per record of a VCF, one per ALT of a table."""
        if self._kind != "parquet":
            for site in self._reader:
                yield site, "\t".join(site.fields) + "\n"
            return
        nowhere = Site("", 0, "", ())
        try:
            for batch in self._table.iter_batches():
                for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    yield nowhere, [list(row)]
        except OSError as error:
            raise TableError(f"is damaged: {error}", path=self.path) from error


def finished(
    path: Path, kind: Format, facts: Mapping[str, str], *, longest: int, is_resumed: bool = False
) -> dict[str, Any]:
    """The report of an existing output; {} if it is damaged or not ours. A missing index is made.

    Args:
        path: The output.
        kind: Its format.
        facts: The facts that it must have.
        longest: Length of the longest contig.
        is_resumed: As for `findna.runs.finished.read_output`.

    Raises:
        OutputError: It is of another run.
    """

    def facts_and_count(path: Path) -> tuple[dict[str, str], int]:
        with ScoredFile(path, kind) as file:
            return _with_shard(file.facts), sum(1 for _ in file.records())

    if (found := read_output(path, facts_and_count, is_resumed=is_resumed)) is None:
        return {}
    require_same_run(path, found[0], _with_shard(facts))
    if not is_resumed:
        restore_index(path, kind, longest)
    return {"n_resumed": found[1], "n_windows": 0, "nothing_to_do": True}


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
        raise ConfigError(f"{out}: parts of scores become .vcf, .vcf.gz, .bcf, .tsv, .tsv.gz or .parquet")
    for path in paths:
        if format_of(path.name) != kind:
            raise ConfigError(f"{path} cannot become {out}: parts and output have the same format")
        if out.exists() and path.exists() and out.samefile(path):
            raise ConfigError(f"the output {out} is also a part: choose another name; nothing was changed")
    ordered = _in_order(paths, kind)
    first = ordered[0][0]
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


def _settings(facts: Mapping[str, str]) -> dict[str, Any]:
    """The common facts as those of other outputs: the settings of a run, its model and its files by name.

    >>> tuple(_settings({"Model": "small; sha256=ab12", "Parameters": "window=8; overlap=True"}).values())
    ('', {'name': 'small', 'sha256': 'ab12'}, {'path': ''}, {'path': ''}, {'window': 8, 'overlap': True})
    """
    found: dict[str, Any] = {"version": facts.get("Version", "")}
    for name in ("Model", "Genome", "Input"):
        text, *identity = _IDENTITY.split(facts.get(name, ""))
        found[name.lower()] = {"name" if name == "Model" else "path": text, **dict([identity[:2]] if identity else [])}
    pairs = (pair.partition("=") for pair in facts.get("Parameters", "").split("; "))
    return {**found, "params": {n: int(text) if text.isdecimal() else _WORDS.get(text, text) for n, _, text in pairs}}


def _with_shard(facts: Mapping[str, str]) -> dict[str, Any]:
    part = ScorePart.parse(facts.get("Shard", ""))
    return _settings(facts) | ({"shard": part.to_dict()} if part else {})


def _in_order(paths: Sequence[Path], kind: Format) -> list[tuple[Path, ScorePart]]:
    """The parts by the number of their shard.

    Raises:
        TableError: They do not belong together, or are not all there.
    """
    found: dict[int, tuple[Path, ScorePart]] = {}
    identity: dict[str, Any] = {}
    for path in paths:
        with ScoredFile(path, kind) as file:
            part = ScorePart.parse(file.facts.get("Shard", ""))
            mine = _settings(file.facts)
        if part is None:
            raise TableError(
                "is the output of a complete run, not a part; a run with shard=i/n writes a part", path=path
            )
        mine |= {"number of shards": part.shard.n, "number of records": part.n_total}
        for name in ("genome", "input"):  # the paths may differ
            mine[name].pop("path")
        if differing := changes(identity or mine, mine, is_part=True):
            raise TableError(f"does not belong to {paths[0]}: {differing}", path=path)
        identity = mine
        if other := found.get(part.shard.number):
            raise TableError(f"is shard {part.shard}, and so is {other[0]}", path=path)
        found[part.shard.number] = (path, part)
    n = next(iter(found.values()))[1].shard.n
    if missing := missing_shards(found, n):
        raise TableError(missing)
    return [found[number] for number in range(1, n + 1)]
