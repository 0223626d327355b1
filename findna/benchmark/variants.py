"""Variants with known effects: how well scores of a model and of baselines identify damaging variants."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findna import __version__, phases
from findna.cells import CHUNK
from findna.config import ScoreConfig
from findna.data.datasets import corpus_of
from findna.data.kmers import canonical_kmers, iter_kmers
from findna.errors import TableError
from findna.io.genome import GENOME_ENDINGS, Genome
from findna.io.vcf import COLUMNS, Site, VariantReader
from findna.models.readout import ModelReadout
from findna.models.store import Model
from findna.nn.device import Compute
from findna.nn.encoder import initialise
from findna.nn.mixers import make_encoder
from findna.region import Region
from findna.sequence import Codes, encode
from findna.settings import parse_number
from findna.variants import VariantScorer

SCHEMA = "findna-variants/1"

FLANK = 3
"""Flanking bases on each side in the table of 7-mers."""
K = 2 * FLANK + 1

LABELS = (("LOF", "FUNC"), ("1", "0"))
"""The names of damaging variants and of the others in the column `label`; rows with another label are skipped."""

_PSEUDOCOUNT = 1.0
_BLOCK = 1 << 20
_HIGHER_IS_DAMAGING = {"llr": -1.0}


@dataclass(frozen=True)
class VariantSetConfig:
    """Which variants are used, and how they are scored.

    Args:
        score: The scores that are computed.
        limit: Maximum number of variants per label, drawn with the seed; 0: all.
        seeds: Number of networks with random weights.
        seed: Of the draw and of the random weights.
    """

    score: ScoreConfig = dataclasses.field(default_factory=ScoreConfig)
    limit: int = 0
    seeds: int = 1
    seed: int = 0


def find_tables(folder: Path, genome: Path | None = None) -> tuple[list[Path], Path]:
    """The tables of variants in a folder, and their genome: the given one, or the only FASTA or .2bit file there.

    Raises:
        TableError: No table was found, no genome, or several genomes.
    """
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    tables = [path for path in files if path.name.endswith((".tsv", ".tsv.gz"))]
    if not tables:
        raise TableError("has no table of variants (.tsv or .tsv.gz)", path=folder)
    genomes = [genome] if genome else [path for path in files if path.name.endswith(GENOME_ENDINGS)]
    if len(genomes) != 1:
        raise TableError(
            f"has {len(genomes)} genomes (FASTA or .2bit): keep one there, or name the genome", path=folder
        )
    return tables, genomes[0]


def measure_variants(
    table: Path,
    genome: Genome,
    model: Model,
    config: VariantSetConfig,
    *,
    compute: Compute,
    on_done: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """The AUROC of each score, for the model, random weights and baselines.

    Args:
        table: A TSV with chrom, pos, ref, alt (single bases) and label (`LABELS`). Other columns of numbers are
            measured as scores, higher is more damaging.
        genome: Its genome, open.
        model: The teacher.
        config: The settings.
        compute: Where and how it runs.
        on_done: Called with the name of each model once it is measured.

    Raises:
        VariantError: The table is damaged, or a variant does not fit the genome.
        TableError: A column or a label is not found.
    """
    began = time.monotonic()
    sites, is_positive, columns, names = _read(table, config)
    rows = []

    def add(source: str, name: str, values: NDArray[np.float64]) -> None:
        rows.append({"source": source, "score": name, **_figures(is_positive, values)})

    for source, one in _models(model, config):
        scorer = VariantScorer(one, genome, config.score, source=str(table), compute=compute)
        values = _scores(scorer, sites, source)
        for field, column in zip(scorer.fields, values.T, strict=True):
            add(source, field.name, _HIGHER_IS_DAMAGING.get(field.name, 1.0) * column)
        on_done(source)
    add("7-mer table of the genome", "llr", -kmer_llr(genome, sites))
    add("baseline", "transversion", np.array([not _is_transition(site) for site in sites], np.float64))
    add("baseline", "not a CpG transition", np.array([not _is_cpg(genome, site) for site in sites], np.float64))
    for name, column in columns.items():
        add("column", name, column)
    return {
        "schema": SCHEMA,
        "findna": __version__,
        "table": table.name,
        "genome": genome.path.name,
        "n_positive": int(is_positive.sum()),
        "n_negative": int((~is_positive).sum()),
        "positive": names[0],
        "negative": names[1],
        "model": {"name": model.name, "sha256": model.sha256},
        "window": config.score.window or model.config.window,
        "limit": config.limit,
        "precision": compute.precision.name,
        "seconds": round(time.monotonic() - began, 1),
        "rows": rows,
    }


def table_of(result: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    lines = ["| model | score | AUROC | 95 % interval |", "|---|---|---|---|"]
    lines += [
        f"| {row['source']} | {row['score']} | {row['auroc']:.3f} | {row['low']:.3f} to {row['high']:.3f} |"
        for row in result["rows"]
    ]
    return "\n".join(lines) + "\n"


def kmer_llr(genome: Genome, sites: Sequence[Site]) -> NDArray[np.float64]:
    """Log-ratio of the counts of ALT and REF between the same three bases on each side, in both strands of the genome.

    The site itself is not counted.
    """
    counts = np.full(4**K, _PSEUDOCOUNT)
    for chrom, length in genome.contigs.items():
        for start in range(0, length, _BLOCK):
            codes = genome.fetch(Region(chrom, start, min(length, start + _BLOCK + K - 1)))[0]
            kmers, is_known = canonical_kmers(codes, K)
            counts += np.bincount(kmers[is_known], minlength=4**K)
    found = []
    for site in sites:
        ref = _around(genome, site, FLANK)
        alt = ref.copy()
        alt[len(ref) // 2] = encode(site.alts[0])[0][0]
        _, kmers = next(iter_kmers(corpus_of([alt, ref]), K))  # none without N where a neighbour is not known
        found.append(float(np.log(counts[kmers[0]] / (counts[kmers[1]] - 1))) if len(kmers) == 2 else 0.0)
    return np.array(found)


def _around(genome: Genome, site: Site, reach: int) -> Codes:
    length = genome.contigs[site.chrom]
    return genome.fetch(Region(site.chrom, max(0, site.start - reach), min(length, site.start + reach + 1)))[0]


def _is_transition(site: Site) -> bool:
    return {site.ref.upper(), site.alts[0].upper()} in ({"A", "G"}, {"C", "T"})


def _is_cpg(genome: Genome, site: Site) -> bool:
    """Whether the variant changes CG to TG or CA."""
    left, middle, right = _around(genome, site, 1).tolist()
    alt = site.alts[0].upper()
    return (middle, right, alt) == (1, 2, "T") or (left, middle, alt) == (1, 2, "A")


def _models(model: Model, config: VariantSetConfig) -> Iterator[tuple[str, Model]]:
    yield model.name, model
    for seed in range(config.seed, config.seed + config.seeds):
        network = initialise(make_encoder(model.config), seed).requires_grad_(False).eval()
        name = "random weights" if config.seeds == 1 else f"random weights, seed {seed}"
        readout = ModelReadout(model.readout.pool, model.readout.blocks)
        yield name, dataclasses.replace(model, network=network, readout=readout)


def _scores(scorer: VariantScorer, sites: Sequence[Site], source: str) -> NDArray[np.float64]:
    values = []
    for first in phases.track(f"scoring: {source}", range(0, len(sites), CHUNK)):
        chunk = sites[first : first + CHUNK]
        for site, scored in zip(chunk, scorer.score(chunk), strict=True):
            if scored.fault is not None:
                raise scored.fault
            if scored.outcomes[0].values is None:
                raise TableError(f"variant {site} has no score: {scored.outcomes[0].reason}")
            values.append(scored.outcomes[0].values)
    return np.array(values, np.float64)


def _read(
    table: Path, config: VariantSetConfig
) -> tuple[list[Site], NDArray[np.bool_], dict[str, NDArray[np.float64]], tuple[str, str]]:
    """The variants with one of the two labels, whether they are positive, the score columns, and the two labels."""
    with VariantReader(table) as reader:
        names = reader.columns
        if "label" not in names:
            raise TableError(f"column 'label' not found; it has {', '.join(names)}", path=table)
        place = names.index("label")
        sites = [site for site in reader if len(site.fields) == len(names)]
    texts = np.array([site.fields[place] for site in sites])
    wanted = next((pair for pair in LABELS if set(pair) <= set(texts)), None)
    if wanted is None:
        raise TableError(f"column 'label' has neither {' nor '.join(map(' and '.join, LABELS))}", path=table)
    chosen = _drawn(texts, wanted, config)
    sites = [sites[index] for index in chosen]
    if wrong := [site for site in sites if len(site.ref) != 1 or len(site.alts) != 1 or len(site.alts[0]) != 1]:
        raise TableError(f"{wrong[0]} is not a single-base substitution", path=table, line=wrong[0].line)
    columns = {}
    for index, name in enumerate(names):
        with suppress(ValueError):
            if name.lower() not in (*COLUMNS, "label"):
                columns[name] = np.array([parse_number(site.fields[index], float) for site in sites])
    return sites, texts[chosen] == wanted[0], columns, wanted


def _drawn(labels: NDArray[np.str_], wanted: tuple[str, str], config: VariantSetConfig) -> NDArray[np.int64]:
    """The rows that are kept, in their order."""
    rng = np.random.default_rng(config.seed)
    kept = []
    for name in wanted:
        rows = np.flatnonzero(labels == name)
        kept.append(rng.permutation(rows)[: config.limit or None])
    return np.sort(np.concatenate(kept))


def _figures(is_positive: NDArray[np.bool_], values: NDArray[np.float64]) -> dict[str, float]:
    """AUROC and its 95 % interval by the variance of DeLong et al. 1988; ties count one half."""
    positive, negative = values[is_positive][:, None], values[~is_positive]
    wins = (positive > negative) + 0.5 * (positive == negative)
    figure = float(wins.mean())
    variance = sum(
        float(part.var(ddof=1)) / len(part) for part in (wins.mean(axis=1), wins.mean(axis=0)) if len(part) > 1
    )
    reach = 1.96 * variance**0.5
    return {"auroc": figure, "low": max(0.0, figure - reach), "high": min(1.0, figure + reach)}
