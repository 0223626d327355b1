"""What a review found and must not come back."""

import os
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
    Path("a.fa").write_text(FASTA)
    h5, tsv = (planned("a.fa", "-m", model, "--format", kind)["output_bytes"] for kind in ("h5", "tsv"))
    assert tsv > h5


@pytest.mark.parametrize("out", ["x.csv", "x.h5.gz", "x.gz"])
def test_a_name_that_tells_no_format_is_refused(out: str, model: Path) -> None:
    Path("a.fa").write_text(FASTA)
    result = call("embed", "a.fa", "-m", model, "-o", out)
    assert result.code == 2
    assert "--format" in result.err
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
