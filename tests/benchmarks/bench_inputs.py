"""Peak memory and rate of reading many BED rows from a genome; prints the figures."""

import multiprocessing
import random
import tempfile
import time
from pathlib import Path

from bench_genome import N_BASES, write_genome

SIZE = 200


def read(bed: Path, genome: Path) -> tuple[int, float, float]:
    """Rows, seconds and the peak memory in MB, of a process of its own."""
    from findna.io.check import check_inputs
    from findna.io.options import InputOptions
    from findna.io.records import read_records

    options = InputOptions(genome=genome)
    began = time.perf_counter()
    n_records = check_inputs([str(bed)], options).n_records
    assert n_records == sum(1 for _ in read_records([str(bed)], options))
    seconds = time.perf_counter() - began
    # Linux; ru_maxrss would be the parent's, if that was larger.
    status = Path("/proc/self/status").read_text()
    return n_records, seconds, int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        genome, bed = Path(folder, "genome.fa"), Path(folder, "rows.bed")
        write_genome(genome)
        for n_rows in (10, 10_000, 1_000_000):
            rng = random.Random(5)
            with bed.open("w") as file:
                for _ in range(n_rows):
                    start = rng.randrange(N_BASES - SIZE - 100)
                    file.write(f"chr1\t{start}\t{start + SIZE}\n")
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                n_records, seconds, peak = pool.apply(read, (bed, genome))
            rate = n_records / seconds
            print(f"{n_records:>9,} rows: peak {peak:.1f} MB, {rate:,.0f} rows per second, check included")


if __name__ == "__main__":
    main()
