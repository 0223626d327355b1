"""Every command on every page: its flags and values exist, and those that need neither network nor hours run."""

import functools
import gzip
import hashlib
import itertools
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pysam
import pytest
import torch
import typer
from command import call, fasta
from hub_server import files_of, running_hub
from printed import assert_printed, blocks, run
from published import formula_b

from findna.benchmark.study_variants import read_variants
from findna.config import ModelConfig
from findna.io.cache import cache_dir
from findna.models.store import save_model
from findna.nn.chordmixer import ChordMixer, initialise
from findna.recipes import PRESETS
from findna_cli.app import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "cli.md")]
RUN = (
    *("README", "benchmark", "choose", "clusters", "data", "faq", "finetune", "formats", "gpu", "index", "model"),
    *("findna-small", "reproducing", "scale", "speed", "speed-amx", "tasks", "training", "variants"),
)
SMALLER = {
    "benchmark run": "--task tf/3 --seeds 1 --limit 20 --epochs 1 --window 60 --threads 1 --out measured",
    "benchmark speed": "--size tiny --precision fp32 --n-bases 8192 --rounds 1 --seconds 0.1 --no-training",
    "benchmark study": "--preset tiny --seeds 1 --limit 20 --limit-valid 10 --steps 1 --n-windows 20 --blocks 2 "
    "--threads 1 -o study",
    "benchmark teacher": "--n-windows 20 --n-held-out 10",
    "data fetch": "--from .",
    "data windows": "--n 20 --n-held-out 10 --min-length 30 --max-length 60",
    "finetune": "--epochs 1 --threads 1",
    "pretrain": "--preset tiny --steps 2 --batch-size 2 --n-windows 20 --n-reports 1 --threads 1",
    "score": "--window 200",
}
"""Flags that make a command fit the small files and the seconds of this test; "data fetch" copies a file."""
OMITTED = re.compile(r" --(?:gpus|workers|processes|max-restarts|time-budget) \w+| --device cuda")
"""Flags of devices that this machine lacks, of processes, which start slowly, and of hours: a command runs without."""
NOT_RUN = re.compile(r" N\.csv")
"""Letters in place of values."""


def commands(text: str) -> Iterator[str]:
    """The findna commands of a page's indented lines, continued ones joined."""
    text = re.sub(r"```sh\n(.+?)```", lambda block: re.sub(r"(?m)^", "    ", block[1]), text, flags=re.DOTALL)
    text = re.sub(r"```.+?```", "", text, flags=re.DOTALL).replace("\\\n", " ")
    for line in re.findall(r"^ {4,}(.+)$", text, re.MULTILINE):
        line = re.sub(r"\$\(printf .*?\)", "", line.partition(" #")[0]).replace(
            "$(findna data fetch hg38)", "hg38.2bit"
        )
        yield from (part for part in re.split(r"\s*(?:&&|\|)\s*", line.strip()) if part.startswith("findna "))


@functools.cache
def root() -> Any:
    return typer.main.get_command(app)


def resolved(line: str) -> tuple[str, Any, list[str]]:
    """The name, the Typer command and the arguments of a command line; a letter that stands for a number is 1."""
    words = [re.sub(r"^[A-Z]$", "1", word) for word in shlex.split(line)[1:]]
    command, name = root(), []
    while hasattr(command, "commands") and words and words[0] in command.commands:
        name.append(words.pop(0))
        command = command.commands[name[-1]]
    return " ".join(name), command, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_has_flags_and_values_that_exist(page: Path) -> None:
    text = page.read_text()
    for line in commands(text):
        _, command, words = resolved(line)
        command.make_context("findna", words)  # raises where a flag or a value is unknown
    for line in re.findall(r"`findna ([a-z][^`\n]+)`", text):
        _, command, words = resolved(f"findna {line}")
        known = {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)} | {"--help"}
        assert {word.partition("=")[0] for word in words if re.match("--[a-z]", word)} <= known, line


def keep_some(path: Path, every: int = 40) -> None:
    """Keep one record in `every` of a table with a header, a FASTA of two lines each, or a BED file."""
    is_packed = path.suffix == ".gz"
    lines = (gzip.decompress(path.read_bytes()) if is_packed else path.read_bytes()).splitlines(keepends=True)
    n = 1 + (lines[0][:1] == b">")
    first = 1 if path.name.endswith(".csv.gz") else 0
    kept = b"".join(line for i, line in enumerate(lines) if i < first or (i - first) // n % every == 0)
    path.write_bytes(gzip.compress(kept) if is_packed else kept)


@pytest.fixture
def world(bases: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The files that the pages name, small, and a small model with as many blocks as the shipped one in its place."""
    model = Path("shipped/findna-small").absolute()
    size = ModelConfig(channels=22, hidden=8, track_width=2, n_layers=2, max_len=1010, n_class_tokens=10)
    save_model(model, initialise(ChordMixer(size), 5), name="findna-small", training={}, card="")
    monkeypatch.setattr("findna.models.folders.SHIPPED", model.parent)
    tensors = {name: torch.from_numpy(value) for name, value in formula_b(size).items()}
    torch.save({"Teacher": tensors, "Student": tensors, "EPOCHS_RUN": 1}, "checkpoint.pt")
    Path("runs").mkdir()
    shutil.copytree(ROOT / "docs/demo", "docs/demo")
    for pattern in ("elements.csv.gz", "promoters.fa.gz", "repeats/*/*.bed"):
        for path in Path("docs/demo").glob(pattern):
            keep_some(path)
    Path("docs/results").symlink_to(ROOT / "docs/results")
    Path("results").symlink_to(ROOT / "docs/results/gue")
    for name in ("t1", "my-species"):
        (Path("runs") / name).symlink_to(model)
    for name in ("findna-small-64Mbp", "findna-small-190Mbp"):
        Path(name).symlink_to(model)
    for name in ("hg38.fa", "mm10.fa", "my-genome.fa", "g.fa"):
        Path(name).write_text(fasta(bases | {"chr8": bases["chr2"], "chr20": bases["chr2"]}))
    md5 = hashlib.md5(Path("hg38.fa").read_bytes()).hexdigest()
    Path("md5sum.txt").write_text(f"{md5}  hg38.fa\n")
    genomes = cache_dir() / "genomes"
    genomes.mkdir(parents=True)
    (genomes / "hg38.fa").symlink_to(Path("hg38.fa").absolute())
    for n, name in enumerate(("regions", "peaks", "windows", "others", "x", "my")):
        rows = [f"chr1\t{start}\t{start + 60}\tregion{start}\n" for start in range(n, 1500, 100)]
        Path(f"{name}.bed").write_text("".join(rows))
    seqs = {f"s{start}": bases["chr1"][start : start + 60] for start in range(200, 1400, 20)}
    for name in ("new.fa", "in.fa", "pos.fa", "windows.fa"):
        Path(name).write_text(fasta(seqs))
    Path("neg.fa").write_text(fasta({f"n{id}": text[::-1] for id, text in seqs.items()}))
    for name, contigs in (("windows", [1]), ("windows.held-out", [8]), ("hg38_contig_ge1kb", [1, 8, 20])):
        records = {f"chr{contigs[n % len(contigs)]}:{id}": text for n, (id, text) in enumerate(seqs.items())}
        Path(f"{name}.fa.gz").write_bytes(gzip.compress(fasta(records).encode()))
    Path("hg38_runs_200_999.fa").write_text(fasta({"chr3:0-2000": bases["chr1"]}))
    Path("genomic_benchmarks_test.fa").write_text(fasta({"0": bases["chr1"][100:300]}))
    for k, name in enumerate(("mm10_baskerville_131kb", "mm9_chr1_4.2Mb", "ensembl_compara_dna")):
        Path(f"mouse_{name}.fa.gz").write_bytes(gzip.compress(fasta({f"m{k}": bases["chr1"][::-1][k:]}).encode()))
    table = [f"{text},{n % 2}\n" for n, text in enumerate(seqs.values())]
    Path("seqs.csv").write_text("id,sequence\n" + "".join(f"{id},{text}\n" for id, text in seqs.items()))
    Path("datasets").mkdir()
    rows = [
        f"{split}\t{k % 2}\t{'ACGT'[k % 4] * 9}{'ACGT'[k % 2] * 51}\n" for split in ("train", "test") for k in range(40)
    ]
    Path("datasets/tf3.ready.tsv.gz").write_bytes(gzip.compress("".join(["split\tlabel\tsequence\n", *rows]).encode()))
    for folder in ("", "gue/tf/0/", "gue/tf/3/", "gue/mouse/0/"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, rows in (("train", table[:40]), ("valid", table[40:50]), ("dev", table[40:50]), ("test", table[50:])):
            Path(f"{folder}{name}.csv").write_text("sequence,label\n" + "".join(rows))
    Path("tf").symlink_to("gue/tf")
    Path("DIR").symlink_to("gue")
    Path("brca1.bed").write_text("chr1\t100\t200\n")
    refs = {pos: bases["chr1"][pos - 1].upper() for pos in range(300, 320)}
    snvs = [f"chr1\t{pos}\t{ref}\t{'CA'[ref == 'C']}\t{pos % 2}\n" for pos, ref in refs.items()]
    Path("gue/snvs.tsv").write_text("chrom\tpos\tref\talt\tlabel\n" + "".join(snvs))
    Path("gue/genome.fa").symlink_to(Path("hg38.fa").absolute())
    for name in ("variants", "checkpoints"):
        Path(f"{name}.toml").write_text("[preset]\n\n[untrained]\n")
    Path("seqs.fa.gz").write_bytes(gzip.compress(fasta(seqs).encode()))
    pysam.view("-b", "-s", "0.05", "-o", "reads.bam", "docs/demo/reads.bam", catch_stdout=False)
    Path("peaks.narrowPeak").write_text("chr1\t300\t400\tp\t0\t.\t1\t1\t1\t50\n")
    exon = '\thavana\ttranscript\t600\t900\t.\t+\t.\tgene_id "g"; transcript_id "t";\n'
    Path("genes.gtf").write_text(f"chr1{exon}")
    sites = "".join(f"chr1\t{pos}\t.\t{bases['chr1'][pos - 1]}\tN\t.\t.\t.\n" for pos in (300, 400, 500))
    head = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    Path("calls.vcf.gz").write_bytes(gzip.compress((head + sites).encode()))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.push("ORG/NAME", files_of(model))
        yield


def fitted(line: str) -> list[str]:
    """The commands to run for a line of a page.

    Flags in `OMITTED` are removed; a run of 16 or 1000 shards becomes three shards, and each is run. The study of a
    file with many variants is one of two.
    """
    line = re.sub(r"docs/results/[\w-]+/variants\.toml", "variants.toml", line)
    line = re.sub(r"\bof(?:16|1000)\b", "of3", OMITTED.sub("", line)).replace("-n 1000", "-n 3").replace(".2bit", ".fa")
    line = line.replace("10,000,100", "10,000,020")  # the bases of a mutagenesis
    parts = [re.sub(r" \d+/(?:16|1000)\b", f" {k}/3", line) for k in (1, 2, 3)]
    return list(dict.fromkeys(parts))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `train_once` keeps the task models that pages use."""
    return tmp_path_factory.mktemp("trained")


def train_once(trained: Path, out: str, *flags: object) -> None:
    """Make a small task model at a place that a page names; it is trained for the first page only."""
    if not (trained / out).exists():
        small = ["--frozen", "--strand", "bed", "--pool", "mean"]
        done = call("finetune", "train.csv", *small, "--out", trained / out, *flags)
        assert done.code == 0, done.err
    shutil.copytree(trained / out, out)


def make_room(found: str, words: list[str]) -> None:
    """Remove the run directory of a training that begins.

    An earlier line may have made it, and a training never replaces one.
    """
    if found not in ("finetune", "pretrain") or {"--resume", "--export"} & set(words):
        return
    out = Path(words[words.index("--out") + 1] if "--out" in words else "runs/pretrain")
    if out.is_symlink():
        out.unlink()
    elif out.exists():
        shutil.rmtree(out)


@pytest.mark.usefixtures("world", "undrawn")
@pytest.mark.parametrize("name", RUN)
def test_the_commands_of_a_page_run_in_their_order(name: str, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = next(page for page in PAGES if page.stem == name and page.parts[-2:] != ("results", "variants.md"))
    text = page.read_text().partition("## Your own regions" if name == "README" else "\n")[2]
    if name == "formats":
        assert call("embed", "peaks.bed", "--genome", "hg38.fa").code == 0
        assert call("split", "windows.bed", "--genome", "hg38.fa", "-n", 3, "-o", "plan.json").code == 0
    if "runs/enhancers" in text:
        train_once(trained, "runs/enhancers")
    if "promoter-tata" in text:
        train_once(trained, "heads/promoter-tata", "--window", 200)
        monkeypatch.setattr("findna.tasks.catalog.HEADS", Path("heads"))
    lines = [line for line in commands(text) if not NOT_RUN.search(line)]
    assert lines
    done = set()
    for line in itertools.chain.from_iterable(map(fitted, lines)):
        found, command, words = resolved(line)
        words = [str(path) for word in words for path in (sorted(Path().glob(word)) or [word])]
        flags = {flag for one in command.params for flag in one.opts}
        smaller = SMALLER.get(found, "")
        words += (smaller.replace("tf/3", "tf3.ready") if "genomic-benchmarks" in words else smaller).split()
        words += ["--force"] * ("--force" in flags and found != "pretrain" and "--resume" not in words)
        settings = found, repr(command.make_context("findna", list(words)).params)
        if settings in done:  # the lines differ in flags that `SMALLER` replaces
            continue
        done.add(settings)
        make_room(found, words)
        result = call(*found.split(), *words)
        assert result.code == 0, f"{line}\n{result.err}"


STUDIES = sorted(path.parent.name for path in (ROOT / "docs/results").glob("*/variants.toml"))


@pytest.mark.parametrize("name", [name for name in STUDIES if name != "teachers"])  # that compares models not kept
def test_the_variants_of_a_study_can_be_read(name: str) -> None:
    assert read_variants(ROOT / "docs/results" / name / "variants.toml", PRESETS["tiny"])


def test_the_output_that_a_page_prints_is_compared() -> None:
    """By test_readme.py, test_tutorial.py, and below."""
    printing = {page.stem for page in PAGES if any(block.printed for block in blocks(page.read_text()))}
    assert printing == {"README", "tutorial", "variants"}


VARIANTS = [block for block in blocks((ROOT / "docs/variants.md").read_text()) if block.printed]


def test_the_scores_of_variants_are_those_of_their_page() -> None:
    scored, measured = VARIANTS[:-1], VARIANTS[-1]
    assert measured.commands == ["findna benchmark run variants --data DIR"]
    places = {word for block in scored for line in block.printed for word in line.split() if word.startswith("1000")}
    Path("docs/demo").mkdir(parents=True)
    for path in (ROOT / "docs/demo").glob("genome.fa.gz*"):
        Path("docs/demo", path.name).symlink_to(path)
    lines = (ROOT / "docs/demo/na12878.vcf").read_text().splitlines(keepends=True)
    kept = [line for line in lines if line[0] == "#" or line.split("\t")[1] in places]
    Path("docs/demo/na12878.vcf").write_text("".join(kept))
    assert len(scored) == 2
    for block in scored:
        first, second = block.commands
        run(first, "--threads", 1)
        assert_printed(run(second).out, block.printed)
    names: dict[str, Any] = {}
    (example,) = re.findall(r"```python\n(.+?)```", (ROOT / "docs/variants.md").read_text(), re.DOTALL)
    exec(example, names)
    assert names["scores"].names == ("llr", "cosine", "euclidean", "influence")
    assert names["scores"].values.shape == (2, 4)
    assert names["effects"].shape == names["probabilities"].shape == (16, 4)


@pytest.mark.slow
@pytest.mark.shared
def test_the_auroc_of_scores_is_that_of_their_page(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs/tools"))
    import brca1

    Path("DIR").mkdir()
    Path("DIR/mine.tsv").write_text(brca1.table_text(shared / "data/variants/brca1_findlay2018.tsv.gz"))
    genome = gzip.decompress((shared / "data/variants/chr17_brca1_hg38.fa.gz").read_bytes())
    Path("DIR/genome.fa").write_bytes(genome)
    found = run(VARIANTS[-1].commands[0], "--limit", 60, "--window", 128, "--seeds", 1)
    assert_printed(found.out, VARIANTS[-1].printed)
