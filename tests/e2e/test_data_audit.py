"""`findna data audit`: what it prints, what it writes, how it exits."""

import json
import random
from pathlib import Path

import pytest
from command import call

Texts = list[str]


@pytest.fixture
def texts() -> Texts:
    draws = random.Random(3)
    return ["".join(draws.choices("ACGT", k=80)) for _ in range(12)]


def table(name: str, rows: list[tuple[str, str]]) -> Path:
    path = Path(name)
    path.write_text("sequence,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path


def test_duplicates_are_counted_and_shown(texts: Texts) -> None:
    turned = texts[1][::-1].translate(str.maketrans("ACGT", "TGCA"))
    table("train.csv", [(text, "a") for text in texts[:6]])
    table("test.csv", [(texts[0], "a"), (turned, "b"), (texts[2][5:] + "ACGTA", "a"), *[(t, "a") for t in texts[6:]]])
    result = call("data", "audit", "train.csv", "test.csv", "--json", "audit.json")
    assert (result.code, result.err) == (0, "")
    blocks = [block.splitlines() for block in result.out.split("\n\n")]
    assert blocks[0] == ["split\tsequences\trepeated\tother_label", "train.csv\t6\t0\t0", "test.csv\t9\t0\t0"]
    assert blocks[1][1] == "test.csv\ttrain.csv\t2\t1\t1\t1\t0\t0.3333"
    assert blocks[2][1] == "test.csv\t3\tb\ttrain.csv\t3\ta\t1.0000"
    report = json.loads(Path("audit.json").read_text())
    assert report["has_leaks"] is True
    assert report["overlaps"][0]["n_near"] == 1
    assert call("data", "audit", "train.csv", "test.csv", "--fail-on-leak", "-q").code == 1


def test_clean_splits_exit_with_zero(texts: Texts) -> None:
    table("train.csv", [(text, "a") for text in texts[:6]])
    table("test.csv", [(text, "b") for text in texts[6:]])
    result = call("data", "audit", "train.csv", "test.csv", "--fail-on-leak")
    assert result.code == 0
    assert result.out.rstrip().endswith("0.0000")


def test_regions_are_audited_by_their_bases(texts: Texts) -> None:
    """The second half of the contig is its first half again, on the other strand."""
    turned = "".join(texts[:4])[::-1].translate(str.maketrans("ACGT", "TGCA"))
    Path("g.fa").write_text(">c\n" + "".join(texts[:4]) + turned + "\n")
    Path("train.bed").write_text("c\t0\t80\nc\t80\t160\n")
    Path("test.bed").write_text("c\t240\t320\nc\t480\t560\n")
    result = call("data", "audit", "train.bed", "test.bed", "--genome", "g.fa", "-q")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[-1] == "test.bed\ttrain.bed\t1\t1\t0\t0\t0\t0.5000"
    assert "--genome" in call("data", "audit", "train.bed").err


def test_what_cannot_be_read_is_named(texts: Texts) -> None:
    table("train.csv", [(texts[0], "a"), ("AC!T", "a")])
    result = call("data", "audit", "train.csv")
    assert result.code == 1
    assert "train.csv, line 3" in result.err
    assert call("data", "audit", "absent.csv").code == 1
    assert call("data", "audit", "train.csv", "train.csv").code == 2
    assert call("data", "audit", "train.csv", "--threshold", "2").code == 2
