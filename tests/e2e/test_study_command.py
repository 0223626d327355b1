"""`findna benchmark study`: log and table, resuming, error messages."""

import json
import random
from pathlib import Path

import pytest
from command import call

pytest.importorskip("sklearn")


@pytest.fixture
def study() -> list[object]:
    """The command on one small set, with windows of 60 to 90 bases."""
    draws = random.Random(1)
    folder = Path("gue/tf/0")
    folder.mkdir(parents=True)
    for split, n in (("train", 40), ("dev", 20), ("test", 20)):
        rows = [f"{''.join(draws.choices('ACGT', [3 - i % 2, 2, 2, 3 - i % 2], k=45))},{i % 2}\n" for i in range(n)]
        (folder / f"{split}.csv").write_text("sequence,label\n" + "".join(rows))
    windows = [f">w{i}\n{''.join(draws.choices('ACGT', k=draws.randint(60, 90)))}\n" for i in range(30)]
    Path("windows.fa").write_text("".join(windows))
    Path("variants.toml").write_text('[preset]\n\n[untrained]\n\n["span-3"]\nmask_span = 3.0\nmin_length = 0\n')
    return ["benchmark", "study", "variants.toml", "windows.fa", "--data", "gue", "--steps", 2, "--threads", 1]


def test_a_study_makes_a_log_and_a_table_and_goes_on(study: list[object]) -> None:
    first = call(*study, "--seeds", 1)
    assert first.code == 0, first.err
    assert first.out == ""
    assert [line.split()[0] for line in first.err.splitlines()] == ["preset", "untrained", "span-3", "study:"]
    log = json.loads(Path("study/study.json").read_text())
    assert len(log["runs"]) == 3
    assert all(run["command"].startswith("findna benchmark study variants.toml") for run in log["runs"].values())
    assert "the noise is not known" in Path("study/study.md").read_text()
    second = call(*study, "--seeds", 2)
    assert second.code == 0, second.err
    again = json.loads(Path("study/study.json").read_text())
    assert len(again["runs"]) == 6
    assert all(again["runs"][key] == run for key, run in log["runs"].items())
    table = Path("study/study.md").read_text()
    assert "| span-3 | mask_span 3.0, min_length 0 | 2 |" in table
    assert "    findna benchmark study variants.toml" in table


def test_sets_that_cannot_be_used_are_told(study: list[object]) -> None:
    Path("gue/tf/1").mkdir()
    Path("gue/tf/1/test.csv").write_text("sequence,label\nACGT,0\nACGT,1\n")
    done = call(*study, "--seeds", 1)
    assert done.code == 0, done.err
    assert done.err.startswith("tf/1: skipped: ")
    none = call(*study, "--task", "tf/1")
    assert none.code == 2
    assert "no labelled set is left to score on" in none.err


def test_a_file_of_another_author_is_never_replaced(study: list[object]) -> None:
    Path("study").mkdir()
    for name, text in (("study.md", "# my notes on a findna study\n"), ("study.json", '{"schema": "mine"}')):
        Path("study", name).write_text(text)
        refused = call(*study)
        message = f"findna: study/{name}: exists and is not a file of findna: move it, or choose another folder\n"
        assert (refused.code, refused.err) == (1, message)
        assert Path("study", name).read_text() == text
        Path("study", name).unlink()


def test_what_is_at_fault_is_told(study: list[object]) -> None:
    Path("variants.toml").write_text("[a]\nalhpa = 1.0\n")
    wrong = call(*study)
    assert wrong.code == 2
    assert "variants.toml, [a]: unknown settings alhpa" in wrong.err
    Path("variants.toml").write_text("[a]\n")
    assert "must be one of paper" in call(*study, "--preset", "huge").err
    none = call(*study, "--task", "tf/9")
    assert none.code == 2
    assert "did you mean tf/0?" in none.err
