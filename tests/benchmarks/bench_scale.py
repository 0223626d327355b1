"""A sharded run from split to merge, by CPU time: `python tests/benchmarks/bench_scale.py [ROWS [SHARDS [STAGES]]]`.

It makes a BED file of ROWS regions of 16 bases, plans SHARDS shards, embeds each of them with a network of five narrow
blocks, and merges the parts, by copying and without. The network costs next to nothing, so what is measured is
everything else. STAGES (default: split,shards,copy,virtual,read,parquet,dataset) are run in turn, each in a process of
its own; `shard` is the middle one alone, `parquet` are the shards in Parquet. For each, it prints CPU seconds, seconds,
and the peak of memory.
"""

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

STAGES = "split,shards,copy,virtual,read,parquet,dataset"
N_BASES = 16
BATCH_BASES = 16_384


def make_inputs(n_rows: int) -> None:
    """g.fa, a.bed, and the model folder stub."""
    from findna.models.store import save_model
    from findna.nn.chordmixer import ChordMixer
    from findna.sizes import ModelConfig

    draw = random.Random(0)
    n_bases = n_rows + 2 * N_BASES
    bases = "".join(draw.choices("ACGT", k=n_bases))
    Path("g.fa").write_text(">chr1\n" + "".join(f"{bases[i : i + 60]}\n" for i in range(0, n_bases, 60)))
    with Path("a.bed").open("w") as file:
        file.writelines(f"chr1\t{i}\t{i + N_BASES}\n" for i in range(n_rows))
    size = ModelConfig(channels=12, hidden=8, track_width=2, n_layers=1, max_len=N_BASES + 2, n_class_tokens=2)
    save_model(Path("stub"), ChordMixer(size), name="stub", training={}, card="# stub\n")


def split(n_shards: int) -> None:
    """Write plan.json."""
    from findna.io.genome import Genome
    from findna.io.options import InputOptions
    from findna.runs.manifest import split

    path = Path("g.fa")
    with Genome(path) as genome:
        options = InputOptions(genome=path)
        split(["a.bed"], options, n_shards=n_shards, batch_bases=BATCH_BASES, genome=genome).write(Path("plan.json"))


def embed(n_shards: int, numbers: range, ending: Literal["h5", "parquet"] = "h5") -> None:
    """Write some parts, all in this process; print the time until the first row of the last one."""
    from findna.config import ComputeConfig, RunConfig
    from findna.io.options import InputOptions
    from findna.runs.embed import EmbedJob
    from findna.runs.run import run
    from findna.runs.shard import Shard

    for number in numbers:
        shard, first = Shard(number, n_shards), []
        began = time.process_time()

        def note(done: int, total: int | None, first: list[float] = first, began: float = began) -> None:
            first.append(time.process_time() - began)

        job = EmbedJob(
            ["a.bed"],
            Path(f"a.{shard.name}.{ending}"),
            output_format=ending,
            options=InputOptions(genome=Path("g.fa")),
            compute=ComputeConfig(device="cpu", precision="fp32", threads=1),
            run=RunConfig(shard=str(shard), plan="plan.json", force=True),
            model="stub",
        )
        run(job, on_progress=note)
    print(f"  shard {shard}: {first[0]:.2f} s of CPU until its first cell is written")


def merge(n_shards: int, name: str, *, virtual: bool) -> None:
    """Join the parts."""
    from findna.runs.merge import merge

    merge([Path(f"a.part{n}of{n_shards}.h5") for n in range(1, n_shards + 1)], Path(name), virtual=virtual, force=True)


def dataset(n_shards: int) -> None:
    """Join parts in Parquet."""
    from findna.runs.merge_parquet import merge_parquet

    merge_parquet([Path(f"a.part{n}of{n_shards}.parquet") for n in range(1, n_shards + 1)], Path("dataset.parquet"))


def read(n_shards: int) -> None:
    """Open the virtual output and read a thousand rows of its middle."""
    from findna.io.reader import EmbeddingReader

    with EmbeddingReader(Path("virtual.h5")) as reader:
        middle = len(reader) // 2
        reader.x[middle : middle + 1000]
        reader.read_obs(slice(middle, middle + 1000))


def timed(what: str, run: Callable[[], object]) -> None:
    """Run it in a process of its own, and print what that took."""
    began = time.monotonic()
    if not (process := os.fork()):
        run()
        os._exit(0)
    _, status, used = os.wait4(process, 0)
    if status:
        sys.exit(f"{what} failed")
    seconds = time.monotonic() - began
    print(
        f"{what:44}{used.ru_utime + used.ru_stime:10.1f} s of CPU{seconds:10.1f} s{used.ru_maxrss / 1024:8.0f} MB",
        flush=True,
    )


def main(n_rows: int, n_shards: int, stages: list[str]) -> None:
    """Print one line for each stage."""
    print(f"{n_rows:,} rows, {n_shards:,} shards")
    timed("(inputs)", partial(make_inputs, n_rows))
    runs = {
        "split": partial(split, n_shards),
        "shards": partial(embed, n_shards, range(1, n_shards + 1)),
        "shard": partial(embed, n_shards, range(n_shards // 2, n_shards // 2 + 1)),
        "parquet": partial(embed, n_shards, range(1, n_shards + 1), "parquet"),
        "dataset": partial(dataset, n_shards),
        "copy": partial(merge, n_shards, "copy.h5", virtual=False),
        "virtual": partial(merge, n_shards, "virtual.h5", virtual=True),
        "read": partial(read, n_shards),
    }
    for stage in stages:
        timed(stage, runs[stage])
    for name in ("a.bed", "plan.json", "copy.h5", "virtual.h5"):
        if Path(name).exists():
            print(f"{name:44}{Path(name).stat().st_size / 1e6:10.1f} MB")


if __name__ == "__main__":
    rows, shards, names, *_ = [*sys.argv[1:], *["1000000", "50", STAGES][len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        main(int(rows), int(shards), names.split(","))
