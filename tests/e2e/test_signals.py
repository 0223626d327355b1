"""Ctrl-C and SIGTERM during a run that can be resumed."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import call

from findna_cli.signals import catch_signals, keep_signals

BOTH = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What the signals did before the test, they do after it."""
    handlers = {number: signal.getsignal(number) for number in (*BOTH, signal.SIGALRM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_signals_are_noted_as_they_come() -> None:
    caught = catch_signals()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGINT):
        os.kill(os.getpid(), number)
    assert caught == [signal.SIGTERM, signal.SIGINT, signal.SIGINT]


def test_who_asks_twice_does_not_wait() -> None:
    caught = catch_signals(once=True)
    os.kill(os.getpid(), signal.SIGINT)
    assert caught == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, signal.SIG_IGN)


class _Interrupted:
    """Ctrl-C comes while it is destroyed."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def test_a_signal_within_a_destructor_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    keep_signals()
    _Interrupted()
    with pytest.raises(KeyboardInterrupt):
        time.sleep(5)


def test_a_signal_that_the_parent_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    catch_signals()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


@pytest.mark.parametrize("command", [("embed", "rows.h5"), ("score", "scores.tsv"), ("predict-bases", "bases.h5")])
def test_the_next_run_deletes_a_spool_that_was_half_removed(
    command: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    name, out = command
    Path("s.fa").write_text(">a\n" + "ACGT" * 5 + "\n")
    Path("v.tsv").write_text("chrom\tpos\tref\talt\na\t9\tA\tC\n")
    window = ("--window", 20, "--max-length", 2)
    inputs = ("v.tsv", "-g", "s.fa", *window) if name == "score" else ("s.fa",)
    args = (name, *inputs, "-m", model, "--threads", 1, "--precision", "fp32", "-o", out)

    unlink = Path.unlink

    def stop(path: Path, *, missing_ok: bool = False) -> None:
        if path.name == "findna.txt":
            raise SystemExit(128 + signal.SIGTERM)
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", stop)
        assert call(*args).code == 128 + signal.SIGTERM
    assert Path(f"{out}.partial").is_dir()
    assert Path(out).is_file()
    assert call(*args).code == 0
    assert not Path(f"{out}.partial").exists()


@pytest.mark.parametrize(
    ("line", "where", "kept"),
    [
        ("verify o.tsv", "verify.verify", "nothing of it is kept; {} starts from the beginning"),
        ("data audit t.csv u.csv", "commands.data.audit_splits", "nothing of it is kept; {} starts from the beginning"),
        ("finetune t.csv --valid u.csv", "train.plan.TaskPlan.load", "no step; {} starts from the beginning"),
        ("pretrain s.fa --steps 2", "commands.training._sources", "no step; {} starts from the beginning"),
        ("pretrain s.fa --resume", "commands.training._plan", "no step; {} continues"),
    ],
)
def test_a_command_that_is_interrupted_early_says_what_to_run(
    line: str, where: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("t.csv", "u.csv"):
        Path(name).write_text("sequence,label\nACGTACGTAC,a\nTTGACCATGA,b\n")
    Path("s.fa").write_text(f">a\n{'ACGTTGCA' * 500}\n")
    Path("o.tsv").write_text("id\n")

    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"findna.{where}", interrupt)
    result = call(*line.split())
    assert result.code == 130
    *_, said, last = result.err.splitlines()
    assert last == "findna: interrupted"
    assert said.endswith(kept.format(f"`findna {line}`"))
