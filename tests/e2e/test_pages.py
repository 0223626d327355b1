"""Every command on every page: its flags and values exist, and those that need neither network nor hours run."""

import functools
import gzip
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from command import call, fasta
from printed import assert_printed, blocks, run
from published import formula_b

from findna.config import ModelConfig
from findna.io.cache import cache_dir
from findna.models.store import save_model
from findna.nn.chordmixer import ChordMixer, initialise
from findna_cli.app import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "cli.md")]
RUN = (
    *("README", "benchmark", "choose", "clusters", "faq", "finetune", "formats", "gpu", "index", "model", "scale"),
    *("tasks", "training", "variants"),
)
NOT_RUN = {
    "data fetch": "network",
    "model pull": "network",
    "pretrain": "hours; tests/e2e/test_pretrain_command.py trains for seconds",
    "benchmark run": "downloaded sets",
    "benchmark study": "hours",
}
SMALLER = {"data windows": ("--n", "20", "--min-length", "30", "--max-length", "60")}
"""Flags that make a command fit the small files of this test."""
UNKNOWN = re.compile(
    r"--device cuda|--gpus|--workers|of1000\.h5|of16\.parquet|part\*\.h5|3/16 --plan|--task covid|--task promoter"
    r"|ORG/NAME|N\.csv|demo/promoters|hg38_contig|finetune (?!.*--frozen)"
)
"""Devices, parts and files that this test lacks; test_finetune_command.py trains all weights."""


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


@pytest.fixture
def world(bases: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the pages name, small, and a small model with as many blocks as the shipped one in its place."""
    model = Path("shipped/findna-small").absolute()
    size = ModelConfig(channels=22, hidden=8, track_width=2, n_layers=2, max_len=1010, n_class_tokens=10)
    save_model(model, initialise(ChordMixer(size), 5), name="findna-small", training={}, card="")
    monkeypatch.setattr("findna.models.folders.SHIPPED", model.parent)
    tensors = {name: torch.from_numpy(value) for name, value in formula_b(size).items()}
    torch.save({"Teacher": tensors, "Student": tensors, "EPOCHS_RUN": 1}, "checkpoint.pt")
    Path("runs").mkdir()
    Path("docs").mkdir()
    Path("docs/demo").symlink_to(ROOT / "docs/demo")
    Path("results").symlink_to(ROOT / "docs/results/gue")
    for name in ("t1", "my-species"):
        (Path("runs") / name).symlink_to(model)
    for name in ("hg38.fa", "my-genome.fa", "g.fa"):
        Path(name).write_text(fasta(bases | {"chr8": bases["chr2"], "chr20": bases["chr2"]}))
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
    table = [f"{text},{n % 2}\n" for n, text in enumerate(seqs.values())]
    for name, rows in (("train", table[:40]), ("valid", table[40:50]), ("test", table[50:])):
        Path(f"{name}.csv").write_text("sequence,label\n" + "".join(rows))
    Path("seqs.csv").write_text("id,sequence\n" + "".join(f"{id},{text}\n" for id, text in seqs.items()))
    Path("seqs.fa.gz").write_bytes(gzip.compress(fasta(seqs).encode()))
    Path("reads.bam").symlink_to(ROOT / "docs/demo/reads.bam")
    Path("peaks.narrowPeak").write_text("chr1\t300\t400\tp\t0\t.\t1\t1\t1\t50\n")
    exon = '\thavana\ttranscript\t600\t900\t.\t+\t.\tgene_id "g"; transcript_id "t";\n'
    Path("genes.gtf").write_text(f"chr1{exon}")
    sites = "".join(f"chr1\t{pos}\t.\t{bases['chr1'][pos - 1]}\tN\t.\t.\t.\n" for pos in (300, 400, 500))
    head = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    Path("calls.vcf.gz").write_bytes(gzip.compress((head + sites).encode()))


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("name", RUN)
def test_the_commands_of_a_page_run_in_their_order(name: str) -> None:
    page = next(page for page in PAGES if page.stem == name and page.parent.name != "results")
    text = page.read_text().partition("## Your own regions" if name == "README" else "\n")[2]
    if name == "formats":
        assert call("embed", "peaks.bed", "--genome", "hg38.fa").code == 0
    if "runs/enhancers" in text:
        assert call("finetune", "train.csv", "--frozen", "--out", "runs/enhancers").code == 0
    n_run = 0
    for line in commands(text):
        found, command, words = resolved(line)
        if found in NOT_RUN or UNKNOWN.search(line):
            continue
        words = [str(path) for word in words for path in (sorted(Path().glob(word)) or [word])]
        flags = {flag for one in command.params for flag in one.opts}
        words += SMALLER.get(found, ())
        words += ["--force"] * ("--force" in flags and "--resume" not in words)
        result = call(*found.split(), *words)
        assert result.code == 0, f"{line}\n{result.err}"
        n_run += 1
    assert n_run


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
