"""Speed of reading and encoding 1-kb regions of a genome, in regions per second; prints the figures."""

import tempfile
import time
from pathlib import Path

import numpy as np
import pysam

from findna.io.genome import Genome, iter_batches
from findna.region import Region

N_BASES, LINE, N_REGIONS, SIZE = 50_000_000, 60, 100_000, 1000


def write_genome(path: Path) -> None:
    rng = np.random.default_rng(7)
    letters = np.frombuffer(b"ACGTacgt", dtype=np.uint8)[rng.integers(0, 8, N_BASES)]
    lines = np.full((N_BASES // LINE, LINE + 1), ord("\n"), dtype=np.uint8)
    lines[:, :LINE] = letters[: len(lines) * LINE].reshape(-1, LINE)
    path.write_bytes(b">chr1\n" + lines.tobytes())


def measure(path: Path) -> float:
    starts = np.random.default_rng(8).integers(0, N_BASES - LINE - SIZE, N_REGIONS)
    regions = [Region("chr1", start, start + SIZE, strand="+-"[start % 2]) for start in starts.tolist()]
    with Genome(path) as genome:
        began = time.perf_counter()
        batches = iter_batches(regions, n_bases=lambda region: region.end - region.start)
        n_bases = sum(len(codes) for batch in batches for codes, _ in genome.fetch_many(batch))
        seconds = time.perf_counter() - began
    assert n_bases == N_REGIONS * SIZE
    return N_REGIONS / seconds


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain, bgzf = Path(folder, "genome.fa"), Path(folder, "genome.fa.gz")
        write_genome(plain)
        pysam.tabix_compress(str(plain), str(bgzf))
        for path in (plain, bgzf):
            began = time.perf_counter()
            Genome(path).close()
            print(f"{path.name}: indexed in {time.perf_counter() - began:.2f} s ({N_BASES / 1e6:.0f} Mb)")
            print(f"{path.name}: {measure(path):,.0f} regions of {SIZE} bases per second, half of them reversed")


if __name__ == "__main__":
    main()
