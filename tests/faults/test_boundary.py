"""Every error is one line on stderr, without a traceback and without control sequences for a terminal."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from command import call, spawn

from findna_cli.__main__ import main as load
from findna_cli.app import main
from findna_cli.console import visible

SOURCES = Path(__file__).resolve().parents[2] / "findna_cli"


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINDNA_CACHE", str(tmp_path / "cache"))


def test_an_internal_fault_is_one_line_that_says_how_to_report_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise TypeError("a list\nof two lines")

    monkeypatch.setattr("findna.commands.view.describe", fail)
    result = call("view", "x.h5")
    assert result.code == 1
    assert result.err.startswith("findna: internal error, TypeError: a list of two lines; please report it")
    assert "`findna --debug COMMAND ...` shows the traceback" in result.err
    assert result.err.count("\n") == 1
    monkeypatch.setenv("FINDNA_DEBUG", "1")
    with pytest.raises(TypeError):
        call("view", "x.h5")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FileNotFoundError(2, "No such file or directory", "x.fa"), "x.fa: no such file or directory"),
        (OSError(5, "Input/output error"), "input/output error"),
        (OSError(5, "Input/output error", 7), "input/output error"),
        (OSError(24, "Too many open files"), "too many open files: the limit (ulimit -n) is reached"),
        (MemoryError(), "out of memory; "),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory; "),
        (RuntimeError("can't start new thread"), "no further thread can be started: the limit of processes"),
        (OSError("no words of the system"), "internal error, OSError: no words of the system; please report"),
        (RecursionError("maximum recursion depth exceeded"), "internal error, RecursionError: "),
    ],
)
def test_failures_of_the_system_are_told_in_its_words(
    error: Exception, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("findna.commands.view.describe", mock.Mock(side_effect=error))
    assert call("view", "x.h5").err.startswith(f"findna: {text}")


def test_a_name_that_is_not_utf8_is_refused_before_any_work() -> None:
    name = os.fsdecode(b"r\xe9gions.fa")
    Path(name).write_text(">a\nACGT\n")
    result = call("embed", name, "-o", "out.h5")
    assert result.code == 2
    assert result.err == ("findna: r\\udce9gions.fa: this name is not UTF-8, so no output can store it: rename it\n")
    assert sorted(path.name for path in Path().iterdir()) == [name]


@pytest.mark.parametrize(
    ("closed", "code"), [(("stdin", "stderr"), 0), (("stdout",), 1), (("stdin", "stdout", "stderr"), 1)]
)
def test_only_a_closed_stdout_is_an_error(monkeypatch: pytest.MonkeyPatch, closed: tuple[str, ...], code: int) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["findna", "--version"])
        for name in closed:
            patch.setattr(sys, name, None)
        with pytest.raises(SystemExit) as end:
            main()
        for name in closed:
            getattr(sys, name).close()
    assert end.value.code == code


def test_an_output_to_a_closed_stdout_is_not_lost_without_a_word(tmp_path: Path) -> None:
    run = [sys.executable, "-m", "findna_cli", "task", "list"]
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *run], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1, "findna: stdout is closed, and the output would be lost: give a file\n"
    )  # fmt: skip


def test_a_letter_that_stdout_cannot_encode_becomes_its_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "argv", ["findna", "help", "embed"])
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(SystemExit, match="0"):
        main()
    assert b"\\u2022" in out.buffer.getvalue()  # type: ignore[attr-defined]


class _Interrupted:
    """Ctrl-C while a module is found."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "findna_cli.app":
            raise KeyboardInterrupt


def test_an_interrupt_during_loading_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "findna_cli.app")
    monkeypatch.setattr(sys, "meta_path", [_Interrupted(), *sys.meta_path])
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr("signal.signal", mock.Mock())
    with pytest.raises(SystemExit, match="130"):
        load()


def test_ctrl_c_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("findna.commands.view.describe", mock.Mock(side_effect=KeyboardInterrupt))
    assert call("view", "x.h5") == (130, "", "findna: interrupted\n")


@pytest.mark.parametrize("flags", [("verify", "x.h5", "-t", -1), ("predict-bases", "x.fa", "--passes", 10**20)])
def test_a_number_out_of_range_is_refused(flags: tuple[object, ...]) -> None:
    assert call(*flags).code == 2


def test_a_working_directory_that_was_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert call("doctor").err == "findna: the working directory was removed: change to another one\n"


def test_a_line_end_in_a_name_does_not_begin_a_line() -> None:
    assert call("embed", "a\nfindna: b.fa").err == "findna: input a\\nfindna: b.fa: no such file or directory\n"


@pytest.mark.skipif(sys.platform == "darwin", reason="the file system takes UTF-8 names only")
def test_a_folder_whose_name_is_not_utf8_is_no_hindrance(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(os.fsdecode(b"caf\xe9"))
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("a.fa").write_text(">a\nACGT\n")
    result = call("embed", "a.fa", "-o", "out.h5", "-t", 1)
    assert result.code == 0, result.err
    assert "/caf\\\\xe9" in call("view", "out.h5", "--as-json").out  # as JSON has a backslash


@pytest.mark.parametrize("letter", ["\x00", "\x07", "\x1b", "\x7f", "\x9b", "\r", "\u2028", "\u202e", "\udce9"])
def test_what_a_terminal_would_obey_becomes_its_escape(letter: str) -> None:
    shown = visible(f"a{letter}b\tc\nd\u00a0é")
    assert letter not in shown
    assert re.fullmatch(r"a\\(x..|u....|r)b\tc\nd\u00a0é", shown)


def test_nothing_but_the_console_writes_to_the_terminal() -> None:
    for path in SOURCES.glob("*.py"):
        if path.name != "console.py":
            assert not re.findall(r"typer\.echo|stderr\.write|stdout\.write|\bprint\(", path.read_text()), path.name


def test_an_error_of_the_installed_command_is_one_line() -> None:
    Path("x.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500))
    result = spawn("view", "x.h5")
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert result.err.startswith("findna: file x.h5: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_report_that_cannot_be_written_is_told_before_the_work() -> None:
    Path("a.fa").write_text(">a\nACGT\n")
    assert call("embed", "a.fa", "-o", "out.h5", "--json", "/dev/full").err.startswith("findna: /dev/full: no space")
    assert not list(Path().glob("out*"))
    windows = ("data", "windows", "a.fa", "--n", 1, "--min-length", 4, "-o", "w.fa", "--json")
    for name in ("w.json", "w.held-out.fa"):
        assert f"{name} is also a file of --out" in call(*windows, name).err
