"""Peak memory of `findna score` for more and more records: `python tests/benchmarks/bench_scores.py`.

One record in a thousand is an SNV with a score; the others are symbolic alleles, whose REF is checked and which are
written with their reason. Input and output are VCF.gz; the output gets its index. The model is a tiny one.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pysam

from findna.models.store import save_model
from findna.nn.chordmixer import ChordMixer, initialise
from findna.sizes import ModelConfig

SMALLEST = ModelConfig(channels=12, hidden=8, track_width=2, n_layers=2, max_len=53, n_class_tokens=3)
N_CONTIG, EVERY = 1_000_000, 1000
HEADER = f"##fileformat=VCFv4.3\n##contig=<ID=chr1,length={N_CONTIG}>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


def write_variants(path: Path, bases: str, n_records: int) -> None:
    """`n_records` sorted records over the contig."""
    with pysam.BGZFile(str(path), "wb") as file:
        file.write(HEADER.encode())
        for row in range(n_records):
            start = row * N_CONTIG // n_records
            alt = "ACGT".replace(bases[start], "")[row % 3] if row % EVERY == 0 else "<DEL>"
            file.write(f"chr1\t{start + 1}\t.\t{bases[start]}\t{alt}\t30.50\tPASS\t.\n".encode())


def main() -> None:
    """Print the peak of each number of records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=(100_000, 1_000_000, 10_000_000))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bases = "".join(random.Random(1).choices("ACGT", k=N_CONTIG))
        (folder / "g.fa").write_text(f">chr1\n{bases}\n")
        save_model(folder / "m", initialise(ChordMixer(SMALLEST), 1), name="smallest", training={}, card="")
        for n_records in parser.parse_args().records:
            path, out = folder / "in.vcf.gz", folder / "out.vcf.gz"
            write_variants(path, bases, n_records)
            command = [sys.executable, "-m", "findna_cli", "score", path, "-g", folder / "g.fa", "-m", folder / "m"]
            command += ["--max-length", "8", "--threads", "1", "-o", out, "--force", "--quiet", "--json"]
            subprocess.run([*map(str, command), str(folder / "r.json")], check=True)
            report = json.loads((folder / "r.json").read_text())
            with pysam.BGZFile(str(out)) as file:
                n_found = sum(not line.startswith(b"#") for line in file)
            peak = report["peak_memory_bytes"] / 1e6
            counts = f"{n_found:>11,} records, {report['n_scored']:,} with a score"
            print(f"{counts}: {peak:,.1f} MB, {report['seconds']:,.1f} s", flush=True)


if __name__ == "__main__":
    main()
