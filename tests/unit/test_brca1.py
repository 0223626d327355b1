"""The program that measures the scores on BRCA1 and writes docs/results/variants.md."""

import gzip
import json
import random
from pathlib import Path

import pytest

from findna.config import ModelConfig
from findna.models.store import Model
from findna.nn.chordmixer import ChordMixer, initialise

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def brca1():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS / "tools"))
        import brca1

        yield brca1


def test_the_page_in_the_docs_has_the_figures_of_its_json(brca1):
    result = json.loads((DOCS / "results" / "variants.json").read_text())
    assert (DOCS / "results" / "variants.md").read_text() == brca1.page(result, threads=1)


def test_variants_at_splice_sites_are_nearest_to_an_exon_boundary(brca1, tmp_path, monkeypatch):
    bases = "".join(random.Random(1).choices("ACGT", k=600))
    rows = ["chrom\tpos_hg38\tref\talt\tclass\tconsequence\ttranscript_variant"]
    for k in range(30):
        name, kind = (f"c.80+{k % 3 + 1}A>G", "LOF") if k % 3 == 0 else (f"c.{k}A>G", "FUNC" if k % 3 == 1 else "INT")
        alt = "ACGT".replace(bases[200 + k], "")[0]
        rows.append(f"17\t{brca1.OFFSET + 201 + k}\t{bases[200 + k]}\t{alt}\t{kind}\tx\t{name}")
    (tmp_path / "brca1_findlay2018.tsv.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    fasta = f">{brca1.RECORD}\n{bases}\n"
    (tmp_path / "chr17_brca1_hg38.fa.gz").write_bytes(gzip.compress(fasta.encode()))
    size = ModelConfig(channels=12, hidden=8, track_width=2, n_layers=1, max_len=138)
    network = initialise(ChordMixer(size), 1)
    monkeypatch.setattr(brca1, "load_model", lambda: Model("little", Path("little"), network, "", {}))
    monkeypatch.setattr(brca1, "RESULTS", tmp_path)
    brca1.main(tmp_path, limit=8, threads=1)
    result = json.loads((tmp_path / "variants.json").read_text())
    assert (result["n_positive"], result["n_negative"]) == (8, 8)
    figures = {(row["source"], row["score"]): row["auroc"] for row in result["rows"]}
    assert figures["column", "splice_proximity"] == 1
    assert len([source for source, _ in figures if source in ("little", "random weights")]) == 8
    page = (tmp_path / "variants.md").read_text()
    assert "| column | splice_proximity | 1.000 |" in page
    assert "python docs/tools/brca1.py DATA --limit 8" in page
