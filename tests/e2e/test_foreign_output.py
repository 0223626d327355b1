"""A file of another program that gets the name of an output while it is made is never replaced."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import call, left_behind

USERS = b"a file of the user\n"
RUN = ("--precision", "fp32", "--device", "cpu")
COMMANDS = {
    "o.h5": ("embed", "s.fa"),
    "o.tsv": ("embed", "s.fa"),
    "o.vcf.gz": ("score", "v.vcf", "-g", "g.fa", "--max-length", "2"),
    "o.bedgraph": ("predict-bases", "r.bed", "-g", "g.fa", "--passes", "2"),
    "m.h5": ("mutagenesis", "s.fa"),
}


@pytest.fixture(autouse=True)
def inputs(genome: Path, bases: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("s.fa").write_text(">a\nACGTTGCAAC\n>b\nTTGACCAGTA\n")
    Path("r.bed").write_text("chr1\t10\t20\nchr1\t30\t40\n")
    refs = [(place, bases["chr1"][place - 1]) for place in (30, 40)]
    rows = (f"chr1\t{place}\t.\t{ref}\t{'CA'[ref == 'C']}\t.\t.\t.\n" for place, ref in refs)
    Path("v.vcf").write_text("##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n" + "".join(rows))
    monkeypatch.setattr("findna.io.record_spool._EVERY", 0.0)
    monkeypatch.setattr("findna.runs.score.CHUNK", 1)


def _on_progress(do: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have something done as soon as the command has done a record."""

    @contextmanager
    def progress(*_: object, **__: object) -> Iterator[Callable[..., None]]:
        yield lambda done, **_: done and do()

    monkeypatch.setattr("findna_cli.job.progress", progress)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_that_appears_during_the_run_is_kept(name: str, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = (*COMMANDS[name], "-m", model, "-o", name, *RUN)
    with monkeypatch.context() as patch:
        _on_progress(lambda: Path(name).write_bytes(USERS), patch)
        result = call(*args)
    assert result.code == 1, result.err
    assert f"{name}: another program wrote this file during the run: move it" in result.err
    assert Path(name).read_bytes() == USERS
    Path(name).unlink()
    assert call(*args, "--resume").code == 0


def test_tokens_of_another_run_that_appear_during_the_run_are_kept(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ("embed", "s.fa", "-m", model, "--pool", "tokens", *RUN)
    assert call(*args, "-o", "a.h5").code == 0
    with monkeypatch.context() as patch:
        _on_progress(lambda: Path("a.tokens.h5").exists() and Path("a.tokens.h5").rename("o.tokens.h5"), patch)
        result = call(*args, "-o", "o.h5")
    assert (result.code, "o.tokens.h5: another program wrote this file" in result.err) == (1, True), result.err
    assert not Path("o.h5").exists()


@pytest.mark.parametrize("name", ["o.vcf.gz", "o.bedgraph", "m.h5"])
def test_a_resumed_run_replaces_only_its_own_output(name: str, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    args = (*COMMANDS[name], "-m", model, "-o", name, *RUN)
    with monkeypatch.context() as patch:
        _on_progress(stop, patch)
        assert call(*args).code == 130
    assert left_behind(name) == [f"{name}.partial"]
    Path(name).write_bytes(USERS)
    result = call(*args, "--resume")
    assert (result.code, Path(name).read_bytes()) == (1, USERS)
    assert f"{name}: exists already; choose another name, or --force replaces it" in result.err
    assert call(*args, "--resume", "--force").code == 0


@pytest.mark.parametrize("command", [("embed", "-m"), ("classify", "--task")], ids=lambda command: command[0])
def test_a_missing_model_is_reported_before_an_output_of_another_program(command: tuple[str, str]) -> None:
    Path("o.tsv").write_bytes(USERS)
    name, flag = command
    result = call(name, "s.fa", flag, "nowhere", "-o", "o.tsv", *RUN)
    assert "nowhere" in result.err
    assert "o.tsv" not in result.err
    assert Path("o.tsv").read_bytes() == USERS
