"""Rows per second of `EmbeddingWriter`, its peak memory, and the size of its file.

python tests/benchmarks/bench_writer.py                 # speed at D = 44 and 154, then memory
python tests/benchmarks/bench_writer.py --rows 1000000 --width 44 --format tsv
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from findna.io.hdf5 import EmbeddingWriter, Format
from findna.io.rows import OBS_COLUMNS, columns_of
from findna.runs.provenance import peak_memory_bytes

BATCH = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, help="one run of N rows, as a line of JSON")
    parser.add_argument("--width", type=int, default=44)
    parser.add_argument("--format", default="h5")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    options = parser.parse_args()
    if options.rows is not None:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            print(json.dumps(measure(Path(folder), options.rows, options.width, options.format)))
        return
    print("rows/s", *(_child(100_000, width) for width in (44, 154)), sep="\n")
    small, large = _child(10_000, 44), _child(1_000_000, 44)
    print("memory", small, large, f"ratio {large['peak_mb'] / small['peak_mb']:.3f}", sep="\n")


def measure(folder: Path, n_rows: int, width: int, output_format: Format) -> dict[str, float]:
    """Write random vectors of BED regions; seconds of both phases, peak memory, bytes."""
    x = np.random.default_rng(0).normal(size=(BATCH, width)).astype(np.float32)
    path = folder / f"out.{output_format}"
    begin = time.perf_counter()
    with EmbeddingWriter(
        path, features=[f"f{i:03}" for i in range(width)], fingerprint={}, output_format=output_format
    ) as writer:
        for start in range(0, n_rows, BATCH):
            rows = range(start, min(n_rows, start + BATCH))
            writer.write(x[: len(rows)], columns_of([_row(row) for row in rows], OBS_COLUMNS))
            writer.commit()
        spooled = time.perf_counter()
        n_spool = sum(file.stat().st_size for file in Path(f"{path}.partial").iterdir())
        outputs = writer.finish({}, n_expected=n_rows)
    end = time.perf_counter()
    n_bytes = sum(output.stat().st_size for output in outputs)
    return {
        "rows": n_rows,
        "width": width,
        "rows_per_s": round(n_rows / (end - begin)),
        "spool_rows_per_s": round(n_rows / (spooled - begin)),
        "assemble_rows_per_s": round(n_rows / (end - spooled)),
        "spool_bytes_per_row": round(n_spool / n_rows, 1),
        "bytes_per_row_beside_x": round(n_bytes / n_rows - 4 * width, 1),
        "peak_mb": round(peak_memory_bytes() / 2**20, 1),
    }


def _row(row: int) -> dict[str, object]:
    start = 10_000 + 731 * row % 240_000_000
    return {
        "id": f"chr{row % 22 + 1}:{start}-{start + 1000}(+)",
        "name": f"peak_{row}",
        "chrom": f"chr{row % 22 + 1}",
        "start": start,
        "end": start + 1000,
        "strand": "+",
        "source": "peaks.bed",
        "row": row,
        "length": 1000,
        "n_windows": 1,
        "frac_n": 0.0,
        "n_iupac": 0,
    }


def _child(n_rows: int, width: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--rows", str(n_rows), "--width", str(width)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


if __name__ == "__main__":
    main()
