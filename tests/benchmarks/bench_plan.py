"""A plan for many shards, by CPU time: `python tests/benchmarks/bench_plan.py [ROWS]`.

It makes a BED file of ROWS regions of 1,000 bases, plans 1,000 shards, and prints CPU seconds: of the plan, and of a
shard until it has its first record, without and with the plan. Then the peak of memory.
"""

import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from findna.io.check import check_inputs
from findna.io.files import sha256
from findna.io.genome import Genome
from findna.io.options import InputOptions
from findna.io.records import read_records
from findna.runs.manifest import read_manifest, split
from findna.runs.provenance import peak_memory_bytes
from findna.runs.shard import Shard, ShardCuts

N_SHARDS = 1000
BATCH_BASES = 131_072


def timed(what: str, run: Callable[[], Any]) -> Any:
    """Run it, and print its CPU seconds and the peak of memory so far."""
    began = time.process_time()
    found = run()
    peak = peak_memory_bytes() / 2**20
    print(f"{what:44}{time.process_time() - began:10.2f} s of CPU{peak:10.0f} MB at most so far", flush=True)
    return found


def main(n_rows: int, folder: Path) -> None:
    """Print one line for each stage."""
    genome_path, bed, plan = folder / "g.fa", folder / "a.bed", folder / "plan.json"
    n_bases = n_rows + 2000
    draw = random.Random(0)
    bases = "".join(draw.choices("ACGT", k=n_bases))
    genome_path.write_text(">chr1\n" + "".join(f"{bases[i : i + 60]}\n" for i in range(0, n_bases, 60)))
    with bed.open("w") as file:
        file.writelines(f"chr1\t{i}\t{i + 1000}\n" for i in range(n_rows))
    inputs, options = [str(bed)], InputOptions(genome=genome_path)
    with Genome(genome_path) as genome:

        def without() -> None:
            cuts = ShardCuts(BATCH_BASES)
            check_inputs(inputs, options, genome=genome, on_record=cuts.add)
            sha256(bed)
            next(
                read_records(inputs, options, genome=genome, wanted=cuts.part(Shard(N_SHARDS, N_SHARDS)).records), None
            )

        def with_plan(number: int) -> None:
            manifest = read_manifest(plan)
            manifest.facts(inputs)
            part, begin = manifest.of(Shard(number, N_SHARDS))
            next(read_records(inputs, options, genome=genome, wanted=part.records, begin=begin), None)

        def make() -> None:
            split(inputs, options, n_shards=N_SHARDS, batch_bases=BATCH_BASES, genome=genome).write(plan)

        print(f"{n_rows:,} rows, {N_SHARDS:,} shards")
        timed("plan", make)
        timed("last shard with the plan", lambda: with_plan(N_SHARDS))
        timed("first shard with the plan", lambda: with_plan(1))
        timed("last shard without a plan", without)
        print(f"{plan.stat().st_size / 1e3:.0f} KB of plan")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, Path(folder))
