"""Windows per second of `findna score` over those of `findna embed`: `python tests/benchmarks/bench_score_rate.py`.

Both read the demo genome, in turn, in one process on one thread; seconds are CPU time.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import findna
from findna.config import ComputeConfig, RunConfig, ScoreConfig
from findna.io.genome import Genome
from findna.io.options import InputOptions
from findna.region import Region
from findna.runs.score import run_scores
from findna.runs.score_job import ScoreJob
from findna.sequence import decode

GENOME = Path(__file__).parents[2] / "docs" / "demo" / "genome.fa.gz"
FIRST, STEP = 10_000_000, 2_000  # of the positions, which no window shares


def write_inputs(folder: Path, n_variants: int, window: int) -> None:
    """SNVs as TSV, and as BED the windows around them and around positions between them."""
    with Genome(GENOME) as genome:
        bases = decode(genome.fetch(Region("chr20", FIRST, FIRST + STEP * n_variants))[0])
    places = range(FIRST, FIRST + STEP * n_variants, STEP)
    snvs = [(place + 1, bases[place - FIRST], "AC"[bases[place - FIRST] == "A"]) for place in places]
    lines = "".join(f"chr20\t{pos}\t{ref}\t{alt}\n" for pos, ref, alt in snvs)
    (folder / "in.tsv").write_text(f"chrom\tpos\tref\talt\n{lines}")
    starts = range(FIRST, FIRST + STEP * n_variants, STEP // 4)
    (folder / "in.bed").write_text("".join(f"chr20\t{start}\t{start + window}\n" for start in starts))


def rates(folder: Path, window: int) -> tuple[float, float]:
    """Windows per second of embedding and of scoring."""
    compute = {"device": "cpu", "precision": "fp32", "threads": 1}
    began = time.process_time()
    embedded = findna.embed_file(folder / "in.bed", folder / "out.h5", genome=GENOME, force=True, **compute)
    middle = time.process_time()
    job = ScoreJob(
        [str(folder / "in.tsv")],
        folder / "out.tsv",
        options=InputOptions(genome=GENOME),
        compute=ComputeConfig(**compute),
        run=RunConfig(force=True),
        config=ScoreConfig(window=window),
        output_format="tsv",
    )
    scored = run_scores(job)
    return embedded["n_rows"] / (middle - began), scored["n_windows"] / (time.process_time() - middle)


def main() -> None:
    """Print the rates of each turn, and the median of their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", type=int, default=400)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as name:
        write_inputs(Path(name), arguments.variants, arguments.window)
        rates(Path(name), arguments.window)  # loads and warms everything
        for _ in range(arguments.turns):
            embedded, scored = rates(Path(name), arguments.window)
            found.append(scored / embedded)
            print(f"embed {embedded:,.1f}, score {scored:,.1f} windows per second: {found[-1]:.2f}", flush=True)
    print(f"median {statistics.median(found):.2f} (target: at least 0.80)")


if __name__ == "__main__":
    main()
