"""An output that is also an input is refused, also with --force."""

import shutil
from pathlib import Path

import pytest
from command import call

from findna.errors import ConfigError
from findna.io.cache import cache_dir

VCF = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
COMMANDS = {
    "regions": ("embed", "r.bed", "-g", "g.fa", "-o", "r.bed"),
    "labels": ("classify", "r.bed", "-g", "g.fa", "--task", "t", "-o", "r.bed"),
    "bases": ("predict-bases", "g.fa", "-o", "g.fa"),
    "changes": ("mutagenesis", "g.fa", "-o", "g.fa"),
    "embeddings": ("score", "v.h5", "-g", "g.fa", "--max-length", "2", "-o", "o.tsv", "--embeddings", "v.h5"),
    "figure": ("mutagenesis", "p.png", "-o", "o.tsv", "--plot", "p.png"),
    "track": ("classify", "r.bed", "-g", "g.bw", "--windows", "--track", "g.bw", "--task", "t", "-o", "o.tsv"),
    "source": ("data", "windows", "w.held-out.fa", "--n", "2", "--holdout", "chr2", "-o", "w.fa"),
    "excluded": ("data", "windows", "g.fa", "--exclude", "e.fa", "--n", "2", "-o", "e.fa"),
    "plan": ("split", "r.bed", "-g", "g.fa", "-n", "2", "-o", "g.fa"),
    "index": ("embed", "r.bed", "-g", "g.fa", "--format", "tsv", "-o", "g.fa.fai"),
    "page": ("plot", "o.h5", "--labels", "l.html", "--html", "l.html"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_output_that_is_an_input_is_refused(name: str, genome: Path) -> None:
    for copy in ("g.bw", "w.held-out.fa", "e.fa"):
        shutil.copy(genome, copy)
    Path("r.bed").write_text("chr1\t5\t20\n")
    Path("p.png").write_text(">a\nACGT\n")
    Path("v.h5").write_text(VCF)
    Path("l.html").write_text("id\tlabel\na\tb\n")
    Path("g.fa.fai").touch()
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    result = call(*COMMANDS[name], "--force")
    assert (result.code, " input: choose another name; nothing was changed\n" in result.err) == (2, True), result
    assert before == {path.name: path.read_bytes() for path in Path().iterdir()}


def test_a_user_without_home_is_told_to_set_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    for name in ("FINDNA_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="has no home directory: set FINDNA_CACHE"):
        cache_dir()


def test_a_default_name_keeps_that_of_the_input(model: Path) -> None:
    name = "a b, ü€.fa"
    Path(name).write_text(">a\nACGT\n")
    assert call("embed", name, "-m", model).code == 0
    assert Path("a b, ü€.h5").is_file()
