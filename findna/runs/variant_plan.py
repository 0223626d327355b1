"""The plan of a sharded run of `findna score`: the variants of each shard, and their start."""

from findna import phases
from findna.errors import ConfigError
from findna.io.check import is_read_once
from findna.io.compressed import Mark
from findna.io.options import InputOptions
from findna.io.source import Begin
from findna.io.vcf import VariantReader
from findna.runs.manifest import Manifest, file_marks
from findna.runs.shard import Part, ShardCuts


def split_variants(source: str, *, n_shards: int) -> Manifest:
    """Check a file of variants and divide it into shards with about the same number of ALTs, in one pass.

    Args:
        source: VCF, BCF or TSV.
        n_shards: Number of shards.

    Raises:
        VariantError: The file is truncated or damaged, or a line is not a record.
        ConfigError: It can be read only once, or there is less than one shard.
    """
    if n_shards < 1:
        raise ConfigError(f"{n_shards} shards: there must be at least one")
    if is_read_once(source):
        raise ConfigError(f"{source} can be read only once: a plan needs files")
    facts = [file_marks(source, InputOptions())]
    shards = cut_variants(source, n_shards)
    n_rows = sum(part.n_bases for part, _ in shards)
    return Manifest(0, {}, facts, "", shards[0][0].n_total, n_rows, 0, shards)


def cut_variants(source: str, n_shards: int) -> list[tuple[Part, Begin | None]]:
    """The records of each shard, and their start; `n_bases` of a part is its number of score rows.

    Raises:
        VariantError: As `split_variants`.
    """
    phases.enter(f"counting the variants of {source}")
    cuts, marks, is_new = ShardCuts(0), list[Mark | None](), True
    with VariantReader(source) as reader:
        for site in reader:
            if is_new:
                marks.append(reader.mark)
            is_new = cuts.add(max(1, len(site.alts)))
    parts = cuts.parts(n_shards)
    found = [marks[cuts.cell_of(part.first)] if part.n_records else None for part in parts]
    begins = [None if mark is None else Begin(0, 0, mark, ()) for mark in found]
    return list(zip(parts, begins, strict=True))
