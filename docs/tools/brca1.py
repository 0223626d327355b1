"""Measure the scores of variants on BRCA1 and write docs/results/variants.md: `python docs/tools/brca1.py DATA [LIMIT]`.

DATA holds brca1_findlay2018.tsv.gz (columns chrom, pos_hg38, ref, alt, class, consequence and transcript_variant; Findlay
et al. 2018, supplementary table 1) and chr17_brca1_hg38.fa.gz (GRCh38 chr17:42424999-43600000). LIMIT is the most variants
of each class; 0 is all.
"""

import gzip
import json
import re
import sys
import tempfile
from pathlib import Path

import torch

from findna.benchmark.variants import VariantSetConfig, measure_variants, table_of
from findna.io.genome import Genome
from findna.models.store import load_model
from findna.nn.device import FP32
from findna.variants import ScoreConfig

RECORD, OFFSET = "chr17:42424999-43600000", 42_424_999
WINDOW = 128
RESULTS = Path(__file__).parents[1] / "results"

PAGE = """# Scores of variants on BRCA1

{n_negative:,} variants without an effect (FUNC) and {n_positive:,} that break the protein (LOF), of saturation genome editing of 13 exons
(Findlay et al. 2018, Nature 562:217). AUROC of LOF against FUNC, windows of {window} bases, both strands, fp32; model
`{model}`. 0.5 is chance. A score below 0.5 ranks the variants the wrong way round.

{table}
The column `splice_proximity` is how near a variant is to an exon boundary. Remake this page with
`python docs/tools/brca1.py DATA{limit}`; it took {seconds:,.0f} s of wall time on one core of a busy machine.
"""


def splice_distances(variants: list[str]) -> list[int]:
    """Bases from the nearest exon boundary, which the names of intronic variants tell (c.4986+3A>G)."""
    places = [re.match(r"c\.(-?\d+)([+-]\d+)?", name) for name in variants]
    edges = {int(place[1]) for place in places if place and place[2]}
    found = []
    for place in places:
        anchor, offset = (int(place[1]), place[2]) if place else (0, None)
        inside = min(abs(anchor - edge) for edge in edges) + 1
        found.append(abs(int(offset)) if offset else inside)
    return found


def table_text(source: Path) -> str:
    """The table of the variants, with positions on the FASTA record."""
    text = gzip.decompress(source.read_bytes()).decode()
    header, *rows = [line.split("\t") for line in text.splitlines()]
    column = {name: [row[header.index(name)] for row in rows] for name in header}
    lines = ["chrom\tpos\tref\talt\tlabel\tconsequence\tsplice_proximity"]
    distances = splice_distances(column["transcript_variant"])
    for i, pos in enumerate(column["pos_hg38"]):
        what = (column["ref"][i], column["alt"][i], column["class"][i], column["consequence"][i], str(-distances[i]))
        lines.append("\t".join((RECORD, str(int(pos) - OFFSET), *what)))
    return "\n".join(lines) + "\n"


def main(data: Path, limit: int) -> None:
    """Measure, and write the page and its JSON."""
    config = VariantSetConfig(columns=("splice_proximity",), score=ScoreConfig(window=WINDOW), limit=limit)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        table, fasta = Path(name) / "brca1.tsv", Path(name) / "chr17.fa"
        table.write_text(table_text(data / "brca1_findlay2018.tsv.gz"))
        fasta.write_bytes(gzip.decompress((data / "chr17_brca1_hg38.fa.gz").read_bytes()))
        with Genome(fasta) as genome:
            result = measure_variants(table, genome, load_model(), config, device=torch.device("cpu"), precision=FP32)
    (RESULTS / "variants.json").write_text(json.dumps(result, indent=2) + "\n")
    text = {"model": result["model"]["name"], "limit": f" {limit}" if limit else "", "table": table_of(result)}
    (RESULTS / "variants.md").write_text(PAGE.format(**result | text))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
