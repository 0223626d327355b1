"""What a review found and must not come back."""

import os
import shutil
from pathlib import Path

import pytest
from command import call, embedded, read

from findna.io.compressed import STDIN

FASTA = "".join(f">s{i}\n{'ACGTTGCA' * 20}\n" for i in range(4))


def planned(*args: object) -> dict[str, float]:
    result = call("embed", *args, "--dry-run", "--threads", 1)
    assert result.code == 0, result.err
    rows = [line.split(None, 1) for line in result.out.splitlines()]
    return {row[0]: float(row[1].replace(",", "")) for row in rows if row[0].startswith(("n_", "est", "out", "bases"))}


def test_a_pipe_cannot_be_resumed(model: Path) -> None:
    os.mkfifo("pipe")
    result = call("embed", "pipe", "-m", model, "-o", "out.h5", "--resume")
    assert result.code == 2
    assert "pipe cannot be read again" in result.err


def test_a_dry_run_of_tokens_and_of_both_strands_plans(model: Path) -> None:
    Path("a.fa").write_text(FASTA)
    assert planned("a.fa", "-m", model, "--pool", "tokens")["n_records"] == 4
    assert planned("a.fa", "-m", model, "--strand", "both")["n_records"] == 4


def test_a_dry_run_counts_the_bases_of_overlapping_windows(model: Path) -> None:
    Path("a.fa").write_text(f">s\n{'ACGTTGCA' * 500}\n")
    apart = planned("a.fa", "-m", model)
    close = planned("a.fa", "-m", model, "--stride", "5")
    seen = [plan["estimated_seconds"] * plan["bases_per_second"] for plan in (apart, close)]
    assert close["n_windows"] > 9 * apart["n_windows"]
    assert seen[1] > 3 * seen[0]  # ten times the work; the seconds shown are rounded


def test_a_tsv_is_planned_larger_than_hdf5(model: Path) -> None:
    text = "".join(f">s{i}\nACGT\n" for i in range(10_000))
    Path("a.fa").write_text(text)
    h5, tsv = (planned("a.fa", "-m", model, "--format", kind)["output_bytes"] for kind in ("h5", "tsv"))
    assert tsv > h5


@pytest.mark.parametrize("out", ["x.csv", "x.h5.gz", "x.gz"])
def test_a_name_that_tells_no_format_is_refused(out: str, model: Path) -> None:
    Path("a.fa").write_text(FASTA)
    result = call("embed", "a.fa", "-m", model, "-o", out)
    assert result.code == 2
    assert "cannot infer the format from the file name; give h5, tsv, parquet or npy" in result.err
    assert not Path(out).exists()


def test_tokens_of_a_replaced_output_go(model: Path) -> None:
    Path("a.fa").write_text(FASTA)
    embedded("a.fa", "-m", model, "-o", "k.h5", "--pool", "tokens")
    assert Path("k.tokens.h5").exists()
    assert call("embed", "a.fa", "-m", model, "-o", "k.h5").code == 1
    embedded("a.fa", "-m", model, "-o", "k.h5", "--force")
    assert not Path("k.tokens.h5").exists()


def test_skipped_records_and_rows_name_their_source_alike(model: Path) -> None:
    text = ">a\nACGT\n>b\nNNNN\n>c\n\n"
    embedded("-", "-m", model, "-o", "out.h5", "--max-n", "0.5", "--on-error", "skip", stdin=text.encode())
    table = read(Path("out.h5"))
    assert set(table.obs["source"]) == set(table.skipped["source"]) == {STDIN}


def test_several_inputs_need_a_name_for_their_output(model: Path) -> None:
    Path("a.fa").write_text(FASTA)
    Path("b.fa").write_text(FASTA.replace("s", "t"))
    result = call("embed", "a.fa", "b.fa", "-m", model)
    assert (result.code, "-o FILE" in result.err) == (2, True)


def test_a_device_is_never_replaced(model: Path) -> None:
    Path("a.fa").write_text(FASTA)
    os.mkfifo("node")
    for flags in ([], ["--force"]):
        result = call("embed", "a.fa", "-m", model, "-o", "node", "--format", "tsv", *flags)
        assert (result.code, "not a file" in result.err) == (1, True)
    assert not Path("node").is_file()


def test_closed_stdin_is_one_line(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from findna.errors import InputError
    from findna.io.compressed import ByteStream

    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(InputError, match="stdin: is closed"):
        ByteStream(STDIN)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["-t", "999999"], "at most 1,024"),
        (["--device", "tpu"], "auto, cpu, cuda"),
        (["-o", "x.parquet", "--format", "npy"], "contradicts"),
    ],
)
def test_mistakes_of_the_command_line_are_named(flags: list[str], said: str, model: Path) -> None:
    Path("a.fa").write_text(FASTA)
    result = call("embed", "a.fa", "-m", model, *flags)
    assert (result.code, said in result.err) == (2, True)


def test_a_refused_resume_names_the_setting(tmp_path: Path) -> None:
    from findna.errors import OutputError
    from findna.io.spool import Spool

    folder = tmp_path / "x.partial"
    Spool(folder, ["x"], {"params": {"a": 1, "batch_bases": 16384}}, resume=False, discard=False).close()
    with pytest.raises(OutputError, match=r"params\.batch_bases was 16384, is 4096"):
        Spool(folder, ["x"], {"params": {"a": 1, "batch_bases": 4096}}, resume=True, discard=False)


def test_a_folder_is_viewed_as_one_line() -> None:
    Path("run.h5.partial").mkdir()
    assert "unfinished run" in call("view", "run.h5.partial").err
    assert call("view", ".").err == "findna: file .: is a folder\n"


def test_info_of_a_damaged_model_is_an_error(model: Path) -> None:
    damaged = Path("damaged")
    shutil.copytree(model, damaged)
    with (damaged / "model.safetensors").open("ab") as file:
        file.write(b"x")
    result = call("model", "info", damaged)
    assert (result.code, "sha256" in result.err) == (1, True)
