"""CPU time per row of `findna embed` beside the network: `python tests/benchmarks/bench_host.py [ROWS [REPEATS]]`.

It embeds a plain FASTA file of ROWS records of 100 bases with the size small, whose network and pooling are replaced by
zeros of the right shape, in batches of a GPU. It prints the least of REPEATS runs, in microseconds per row: all of it,
and of these what is spent after the last batch, to assemble, read back and compare the HDF5 file.
"""

import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from findna import embedding, stream
from findna.config import ComputeConfig, RunConfig
from findna.io.hdf5 import EmbeddingWriter
from findna.io.options import InputOptions
from findna.models.store import save_model
from findna.nn.chordmixer import ChordMixer
from findna.runs.embed import EmbedJob
from findna.runs.run import run
from findna.sizes import SIZES

SIZE = SIZES["small"]
BATCH_BASES = 131_072
_ROW = torch.zeros(1, SIZE.channels)


def main(n_rows: int, n_repeats: int) -> None:
    """Print one line."""
    draw = random.Random(1)
    Path("w.fa").write_text("".join(f">w{i}\n{''.join(draw.choices('ACGT', k=100))}\n" for i in range(n_rows)))
    save_model(Path("stub"), ChordMixer(SIZE), name="stub", training={}, card="# stub\n")
    finish, spent = EmbeddingWriter.finish, [0.0]

    def timed_finish(*args: Any, **options: Any) -> list[Path]:
        began = time.process_time()
        paths = finish(*args, **options)
        spent[0] = time.process_time() - began
        return paths

    stream.hidden_of = lambda network, batch, **_: _ROW.expand(int(batch.rings[-1]), -1)  # type: ignore[assignment]
    embedding.gather = lambda hidden, rings, own, *, pools, **_: [_ROW.repeat(len(own), 1) for _ in pools]  # type: ignore[assignment]
    EmbeddingWriter.finish = timed_finish  # type: ignore[method-assign]
    job = EmbedJob(
        ["w.fa"],
        Path("w.h5"),
        output_format="h5",
        options=InputOptions(),
        compute=ComputeConfig(device="cpu", precision="fp32", threads=1, batch_bases=BATCH_BASES),
        run=RunConfig(force=True),
        model="stub",
    )
    times = []
    for _ in range(n_repeats):
        began = time.process_time()
        run(job)
        times.append((time.process_time() - began, spent[0]))
    total, at_end = (1e6 * seconds / n_rows for seconds in min(times))
    print(f"{total:.1f} microseconds of CPU time per row, {at_end:.1f} of them to assemble and check the file")


if __name__ == "__main__":
    rows, repeats = [*map(int, sys.argv[1:]), *[100_000, 5][len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        main(rows, repeats)
