"""Measure the scores of variants on BRCA1, and write docs/results/variants.md and .json: `python docs/tools/brca1.py DATA`.

`--limit N` takes N variants of each class. DATA holds brca1_findlay2018.tsv.gz (columns chrom, pos_hg38, ref, alt, class, consequence and transcript_variant; Findlay
et al. 2018, supplementary table 1) and chr17_brca1_hg38.fa.gz (GRCh38 chr17:42424999-43600000).
"""

import argparse
import gzip
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import torch

from findna.benchmark.variants import VariantSetConfig, measure_variants, table_of
from findna.config import ScoreConfig
from findna.io.genome import Genome
from findna.models.store import load_model
from findna.nn.device import FP32, Compute

RECORD, OFFSET = "chr17:42424999-43600000", 42_424_999
WINDOW = 128
RANDOM, USEFUL = "random weights", 0.7
RESULTS = Path(__file__).parents[1] / "results"

PAGE = """# Scores of variants on BRCA1

{n_negative:,} variants without an effect (FUNC) and {n_positive:,} that break the protein (LOF), of saturation genome editing of 13 exons
(Findlay et al. 2018, Nature 562:217). AUROC of LOF against FUNC, windows of {window} bases, both strands, fp32; model
`{model}`. 0.5 is chance. A score below 0.5 ranks the variants the wrong way round.

{meaning}

{table}
The column `splice_proximity` is how near a variant is to an exon boundary. Remake this page with
`python docs/tools/brca1.py DATA{limit}`; it took {seconds:,.0f} s of wall time on {threads} of a busy machine. The data are not part of findna:
supplementary table 1 of the paper, and GRCh38 chr17:42424999-43600000.
"""


def meaning(rows: list[dict[str, Any]], model: str) -> str:
    """What the figures say, in words that follow from them."""

    def best(*sources: str) -> dict[str, Any]:
        return max((row for row in rows if row["source"] in sources), key=lambda row: float(row["auroc"]))

    own = best(model)
    simple = best(*{row["source"] for row in rows} - {model, RANDOM})
    rivals = {"the best score of random weights": best(RANDOM), f"`{simple['score']}`": simple}
    shown = {name: f"{name} ({row['auroc']:.3f})" for name, row in rivals.items()}
    beaten = [shown[name] for name, row in rivals.items() if own["low"] > row["auroc"]]
    others = [shown[name] for name, row in rivals.items() if own["low"] <= row["auroc"]]
    verdict = "does not separate the classes" if own["low"] <= 0.5 else "separates the classes better than chance"
    said = [
        f"**What it means.** The best of the model's four scores is `{own['score']}`, with an AUROC of {own['auroc']:.3f}.",
        f"It {verdict}.",
        f"It is better than {' and '.join(beaten)}." if beaten else "",
        f"It is not clearly better than {' or '.join(others)}." if others else "",
        "Do not use it to rank variants." if own["auroc"] < USEFUL else "This is one gene; others may differ.",
    ]
    return "\n".join(filter(None, said))


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


def page(result: dict[str, Any], *, threads: int) -> str:
    """The page of a result."""
    limit = result["limit"]
    text = {
        "model": result["model"]["name"],
        "limit": f" --limit {limit}" if limit else "",
        "threads": f"{threads} cores" if threads > 1 else "one core",
        "meaning": meaning(result["rows"], result["model"]["name"]),
        "table": table_of(result),
    }
    return PAGE.format(**result | text)


def main(data: Path, limit: int, threads: int) -> None:
    """Measure, and write the page and its JSON."""
    config = VariantSetConfig(score=ScoreConfig(window=WINDOW, max_length=1), limit=limit)
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as name:
        table, fasta = Path(name) / "brca1.tsv", Path(name) / "chr17.fa"
        table.write_text(table_text(data / "brca1_findlay2018.tsv.gz"))
        fasta.write_bytes(gzip.decompress((data / "chr17_brca1_hg38.fa.gz").read_bytes()))
        with Genome(fasta) as genome:
            compute = Compute(torch.device("cpu"), FP32)
            result = measure_variants(table, genome, load_model(), config, compute=compute)
    (RESULTS / "variants.json").write_text(json.dumps(result, indent=2) + "\n")
    (RESULTS / "variants.md").write_text(page(result, threads=threads))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    main(**vars(parser.parse_args()))
