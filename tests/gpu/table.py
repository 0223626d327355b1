"""The rows of `findna/nn/measured.tsv` from reports of `findna benchmark speed`, one report for each way.

`python tests/gpu/table.py CAPABILITY REPORT.json ...` prints the table: for each size, pass and precision the fastest
way, with its bases per second and the GPU.
"""

import json
import sys
from pathlib import Path

from findna.sizes import SIZES

HEADER = ("capability", "channels", "hidden", "pass", "precision", "way", "bases_per_second", "gpu")
PASSES = {"forward": "inference", "pretraining step": "training"}


def table(capability: int, reports: list[dict]) -> list[tuple]:
    """One row for each size, pass and precision, the header first."""
    fastest: dict[tuple, tuple] = {}
    for report in reports:
        for row in report["rows"]:
            if row["what"] not in PASSES or row["lengths"] != "1000" or row["batch"] < report["n_bases"] // 2:
                continue
            size = SIZES[row["size"]]
            key = (capability, size.channels, size.hidden, PASSES[row["what"]], row["precision"])
            found = (row["bases_per_second"], row["kernels"], report["device"])
            fastest[key] = max(fastest.get(key, found), found)
    rows = [(*key, way, f"{rate:.4g}", gpu) for key, (rate, way, gpu) in sorted(fastest.items())]
    return [HEADER, *rows]


if __name__ == "__main__":
    for line in table(int(sys.argv[1]), [json.loads(Path(path).read_text()) for path in sys.argv[2:]]):
        print("\t".join(map(str, line)))
