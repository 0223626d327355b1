"""Two processes with a thread each against one with two, on the same batches: `python tests/benchmarks/bench_ranks.py`.

Short rounds by turns, so that what else the machine does disturbs both alike. Wanted on two idle cores: at least 0.9.
"""

import csv
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

FLAGS = ["--preset", "small", "--n-held-out", "1", "--n-reports", "1", "--quiet"]
N_ROUNDS = 3


def rate(folder: Path, *flags: str) -> float:
    """Bases per second of one run, without its first and last steps."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, "-m", "findna_cli", "pretrain", str(folder / "w.fa"), *FLAGS, *flags, "-o", out]
        subprocess.run(command, check=True)
        rows = list(csv.DictReader(Path(out, "log.csv").read_text().splitlines()))
    first, last = rows[3], rows[-2]
    return (int(last["n_bases"]) - int(first["n_bases"])) / (float(last["seconds"]) - float(first["seconds"]))


def main() -> None:
    """Print one row for each batch size."""
    draws = random.Random(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [f">w{i}\n{''.join(draws.choices('ACGT', k=1000))}\n" for i in range(200)]
        (folder / "w.fa").write_text("".join(lines))
        for batch, steps in ((4, 24), (16, 12)):
            own = ["--batch-size", str(batch), "--steps", str(steps)]
            pairs = [
                (rate(folder, *own, "--threads", "2"), rate(folder, *own, "--processes", "2")) for _ in range(N_ROUNDS)
            ]
            one, two = (statistics.median(values) for values in zip(*pairs, strict=True))
            print(f"batch {batch}: 1 x 2 threads {one:,.0f} bases/s, 2 x 1 thread {two:,.0f}, ratio {two / one:.2f}")


if __name__ == "__main__":
    main()
