"""Peak memory of `findna embed` for few and for many BED rows: `python tests/benchmarks/bench_memory.py`."""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from findna.models.store import save_model
from findna.nn.chordmixer import ChordMixer, initialise
from findna.sizes import ModelConfig

SMALLEST = ModelConfig(channels=2, hidden=1, track_width=1, n_layers=1, max_len=21, n_class_tokens=1)
N_CONTIG, N_BASES = 100_000, 20


def measure(folder: Path, n_rows: int, output_format: str) -> dict[str, float]:
    """Embed `n_rows` regions of 20 bases in a process of its own; the report of `--json`."""
    draws = random.Random(n_rows)
    bed, report = folder / f"{n_rows}.bed", folder / "report.json"
    with bed.open("w") as file:
        for row in range(n_rows):
            start = draws.randrange(N_CONTIG - N_BASES)
            file.write(f"chr1\t{start}\t{start + N_BASES}\tpeak{row}\t0\t+\n")
    command = [sys.executable, "-m", "findna_cli", "embed", bed, "--genome", folder / "g.fa", "--model", folder / "m"]
    command += ["-o", folder / f"{n_rows}.{output_format}", "--json", report, "--quiet", "--threads", "1"]
    subprocess.run([*map(str, command)], check=True)
    return json.loads(report.read_text())


def main() -> None:
    """Print both peaks and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs=2, default=(10_000, 1_000_000), help="how few and how many")
    parser.add_argument("--format", default="h5", help="h5, tsv, parquet or npy")
    arguments = parser.parse_args()
    peaks = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bases = "".join(random.Random(1).choices("ACGT", k=N_CONTIG))
        (folder / "g.fa").write_text(f">chr1\n{bases}\n")
        save_model(folder / "m", initialise(ChordMixer(SMALLEST), 1), name="smallest", training={}, card="")
        for n_rows in arguments.rows:
            report = measure(folder, n_rows, arguments.format)
            peaks.append(report["peak_memory_bytes"])
            print(f"{n_rows:>10,} rows: {peaks[-1] / 1e6:,.1f} MB, {report['seconds']:,.1f} s", flush=True)
    print(f"ratio {peaks[1] / peaks[0]:.3f} (target: at most 1.10)")


if __name__ == "__main__":
    main()
