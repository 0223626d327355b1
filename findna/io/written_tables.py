"""Written tables as rows: effects and scores."""

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

from findna.errors import TableError
from findna.io.compressed import ByteStream
from findna.io.effects import SCHEMA as MUTAGENESIS
from findna.io.rows import BLOCK
from findna.io.scores import FACT, SKIPPED, named_fact
from findna.io.summed import check_text
from findna.io.tables import open_parquet, require_pyarrow
from findna.io.vcf import Site, VariantReader
from findna.io.written_rows import Row, Written
from findna.sequence import ALPHABET, N

FACT_NAME = FACT.lstrip("#")

MOST_BASES = 10_000_000
"""Of a record with effects. Its thirty million changes would take weeks, so a larger position is damage."""


class EffectsTable(Written):
    """Effects as TSV. N has no line, so an N at the end of a record is not seen."""

    family, kind = "bases", f"{MUTAGENESIS} (TSV)"

    def __init__(self, path: Path) -> None:
        self.path = path
        with ByteStream(path, error=TableError) as stream:
            self.meta = json.loads(next(stream.lines()).removeprefix(b"## "))
        self.n_rows = sum(1 for _ in self.rows())

    def check(self) -> str:
        return check_text(self.path)

    def rows(self) -> Iterator[Row]:
        with ByteStream(self.path, error=TableError) as stream:
            lines = (line.decode().split("\t") for line in stream.lines() if not line.startswith((b"#", b"id\t")))
            for name, group in groupby(lines, key=lambda fields: fields[0]):
                fields = [(int(f[3]) - 1, f[4], f[5], float(f[6])) for f in group]
                length = fields[-1][0] + 1
                if length > MOST_BASES:
                    raise self.fail(f"record {name} has position {length:,}; the maximum is {MOST_BASES:,}")
                x = np.full((length, N), np.nan, np.float32)
                bases = ["N"] * length
                with np.errstate(over="ignore"):  # it becomes infinite
                    for place, ref, alt, effect in fields:
                        x[place, ALPHABET.index(alt)], x[place, ALPHABET.index(ref)], bases[place] = effect, 0, ref
                if np.isinf(x).any():
                    raise self.fail(f"record {name} has an effect that is not a finite number")
                if np.isnan(x).any(axis=1).sum() != bases.count("N"):
                    raise self.fail(f"record {name} lacks changes")
                yield Row(name, {"sequence": "".join(bases)}, x)


class WrittenScores(Written):
    """Scored variants; a row is an ALT."""

    family = "scores"

    def __init__(self, path: Path) -> None:
        self.path = path
        facts = _score_facts(path)
        if "Model" not in facts:
            if path.suffix != ".parquet":
                _read_through(path)  # a damaged file may say anything
            raise self.fail("is a VCF that findna did not score")
        self.kind = f"scored {'.'.join(path.name.split('.')[1:]) or 'variants'}"
        self.meta = _parsed(facts)
        self.n_rows = sum(1 for _ in self.rows())

    def check(self) -> str:
        if self.path.suffix == ".parquet":
            return "page checksums agree"  # compared while its rows were counted
        bgzf = "BGZF checksums agree" if self.path.suffix in (".gz", ".bcf") else ""
        return bgzf or check_text(self.path)

    def rows(self) -> Iterator[Row]:
        if self.path.suffix == ".parquet":
            with open_parquet(self.path) as file:
                for batch in file.iter_batches(BLOCK):
                    for obs in batch.to_pylist():
                        lower = {name.lower(): value for name, value in obs.items()}
                        alts = (lower["alt"],) if lower["alt"] != "." else ()
                        yield _site_row(Site(lower["chrom"], int(lower["pos"]) - 1, lower["ref"], alts), obs)
            return
        with VariantReader(self.path) as reader:
            for site in reader:
                if reader.kind == "tsv":
                    yield _site_row(site, dict(zip(reader.columns, site.fields, strict=False)))
                    continue
                info = dict(entry.partition("=")[::2] for entry in site.fields[7].split(";"))
                own = {key: value.split(",") for key, value in info.items() if key.startswith("FINDNA_")}
                for i, alt in enumerate(site.alts or (".",)):
                    alts = (alt,) if site.alts else ()
                    obs = {key: values[i] for key, values in own.items()}
                    reason = obs.get(SKIPPED, ".")
                    yield _site_row(site._replace(alts=alts), {**obs, "status": "ok" if reason == "." else reason})


def _site_row(site: Site, obs: Mapping[str, Any]) -> Row:
    return Row(str(site), {**obs, "site": site}, np.empty(0))


def _score_facts(path: Path) -> dict[str, str]:
    if path.suffix == ".parquet":
        metadata = require_pyarrow().parquet.read_schema(path).metadata
        pairs = {name.decode(): text.decode() for name, text in metadata.items()}
        return {name.removeprefix(FACT_NAME): text for name, text in pairs.items() if name.startswith(FACT_NAME)}
    with VariantReader(path) as reader:
        found = [re.match(rf"{FACT}(\w+)=(.*)", line) for line in reader.header]
    return {match[1]: match[2] for match in found if match}


def _read_through(path: Path) -> None:
    """Read a file to its end, so that damage is an error: the checksum of compressed text follows the text."""
    with ByteStream(path, error=TableError) as stream:
        deque(stream.lines(), maxlen=0)


def _parsed(facts: Mapping[str, str]) -> dict[str, Any]:
    """The facts of a scored file, in the form of other outputs."""
    name, of_model = named_fact(facts["Model"].removeprefix("task "))
    genome, of_genome = named_fact(facts["Genome"])
    source, of_source = named_fact(facts["Input"])
    params = dict(entry.partition("=")[::2] for entry in facts["Parameters"].split("; "))
    return {
        "model": {
            "name": name,
            "sha256": "",
            **of_model,
            **({"task": {}} if facts["Model"].startswith("task ") else {}),
        },
        "genome": {"path": genome, "digest": "", **of_genome},
        "inputs": [{"path": source, **of_source}],
        "params": params,
        "shard": facts.get("Shard", ""),
    }


def read_blocks(path: Path) -> Iterator[tuple[list[str], list[list[str]]]]:
    """The header of a TSV, and its rows in blocks.

    Raises:
        TableError: A row has another number of columns.
    """
    with ByteStream(path, error=TableError) as stream:
        rows = stream.numbered()
        names = next(rows)[1].decode().split("\t")
        while lines := [(number, text.decode().split("\t")) for number, text in islice(rows, BLOCK)]:
            if odd := [number for number, fields in lines if len(fields) != len(names)]:
                raise TableError(f"does not have the {len(names):,} columns of its header", path=path, line=odd[0])
            yield names, [fields for _, fields in lines]
        yield names, []


def table_columns(
    names: Sequence[str], lines: Sequence[Sequence[str]], *, but: Sequence[int] = ()
) -> dict[str, list[Any]]:
    """The columns of rows by name, without those at given indices."""
    return {name: [line[i] for line in lines] for i, name in enumerate(names) if i not in but}
