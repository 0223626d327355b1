"""An output of `findna score`: the facts in it, and whether it is finished."""

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

from findna.errors import TableError
from findna.io.score_files import Format, restore_index
from findna.io.scores import FACT, TableHead, named_fact
from findna.io.tables import open_parquet
from findna.io.vcf import Site, VariantReader
from findna.runs.finished import read_output, require_same_run
from findna.runs.shard import Shard

_SHARD = re.compile(r"(\d+)/(\d+); records=(\d+)\+(\d+) of (\d+); rows=(\d+)\+(\d+) of (\d+)")
_WORDS = {"True": True, "False": False, "None": None}
_LENGTH = re.compile(r"##contig=<.*\blength=(\d+)")


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
    return {"n_resumed": found[1], "nothing_to_do": True}


def facts_of(facts: Mapping[str, str]) -> dict[str, Any]:
    """The common facts as those of other outputs: the settings of a run, its model and its files by name.

    >>> tuple(facts_of({"Model": "small; sha256=ab12", "Parameters": "window=8; overlap=True"}).values())
    ('', {'name': 'small', 'sha256': 'ab12'}, {'path': ''}, {'path': ''}, {'window': 8, 'overlap': True})
    """
    found: dict[str, Any] = {"version": facts.get("Version", "")}
    for name in ("Model", "Genome", "Input"):
        text, identity = named_fact(facts.get(name, ""))
        found[name.lower()] = {"name" if name == "Model" else "path": text, **identity}
    pairs = (pair.partition("=") for pair in facts.get("Parameters", "").split("; "))
    return {**found, "params": {n: int(text) if text.isdecimal() else _WORDS.get(text, text) for n, _, text in pairs}}


def _with_shard(facts: Mapping[str, str]) -> dict[str, Any]:
    part = ScorePart.parse(facts.get("Shard", ""))
    return facts_of(facts) | ({"shard": part.to_dict()} if part else {})
