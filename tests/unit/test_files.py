import errno
import hashlib
import os
import socket
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from outputs import write_all

from findna.errors import OutputError
from findna.io import files
from findna.io.files import publish, replacing, write_atomic
from findna.io.locks import locked


def test_publish_replaces_the_old_file_and_leaves_no_temporary_one(tmp_path: Path) -> None:
    final, temp = tmp_path / "a", tmp_path / "b"
    final.write_text("old")
    temp.write_text("new")
    files.publish(temp, final)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "new"}


@pytest.mark.parametrize(("content", "expected"), [(b"\x00\xff", b"\x00\xff"), ("ß\n", b"\xc3\x9f\n")])
def test_write_atomic_writes_bytes_and_text_as_utf8(tmp_path: Path, content: bytes | str, expected: bytes) -> None:
    files.write_atomic(tmp_path / "a", content)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [expected]


def test_a_failed_atomic_write_keeps_the_old_file_and_no_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "publish", full)
    with pytest.raises(OutputError, match="no space left"):
        files.write_atomic(tmp_path / "a", "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old"}


def test_what_killed_processes_left_is_deleted_and_what_others_write_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, ended = tmp_path / "a.json", subprocess.Popen(["true"])
    ended.wait()
    own = files.temp_beside(path)
    host = own.name.split(".")[-2].partition("-")[0]
    names = [f".a.json.{owner}.tmp" for owner in (f"{host}-{ended.pid}", "0123abcd-1", "0123abcd-2", "mine")]
    dead, others, old, foreign = (tmp_path / name for name in names)
    for temp in (own, dead, others, old, foreign):
        temp.touch()
    os.utime(old, (0, 0))
    assert files.temp_beside(path) == own
    assert sorted(tmp_path.iterdir()) == sorted([own, others, foreign])
    dead.touch()
    monkeypatch.setattr(files, "pid_space", lambda: "that of another container")
    assert files.temp_beside(path) != own
    assert dead.exists()


def test_writing_below_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="not a directory"):
        files.write_atomic(tmp_path / "file" / "a", "x")


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"GATTACA" * 1000)
    assert files.sha256(tmp_path / "a") == hashlib.sha256(b"GATTACA" * 1000).hexdigest()


def test_too_little_space_says_how_much_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "free_bytes", lambda _: 1_000_000)
    files.require_space(tmp_path, 1_000_000, hint="")
    with pytest.raises(OutputError, match=r"2\.5 GB are needed and 1\.0 MB are free; make room"):
        files.require_space(tmp_path, 2_500_000_000, hint="make room")


def test_a_lock_is_held_by_one_process_and_freed_when_it_ends(tmp_path: Path) -> None:
    lock, what = tmp_path / "folder" / "lock", tmp_path / "out.h5"
    code = (
        "import sys; from pathlib import Path; from findna.io.locks import locked\n"
        "with locked(Path(sys.argv[1]), what=Path('x')):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match=r"out\.h5: in use"), locked(lock, what=what):
            pass
        holder.kill()
    with locked(lock, what=what):
        pass


def test_a_lock_file_deleted_by_its_holder_can_be_taken_anew(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with locked(lock, what=lock):
        lock.unlink()
        with locked(lock, what=lock):
            pass


def test_a_lock_in_a_folder_that_does_not_exist_is_an_output_error(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"out\.h5: the folder .*absent does not exist"),
        locked(tmp_path / "absent" / "out.h5.partial" / "lock", what=tmp_path / "absent" / "out.h5"),
    ):
        pass


def test_a_device_or_a_pipe_is_written_to_and_never_replaced(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    write_atomic(fifo, "report")
    assert os.read(reader, 100) == b"report"
    os.close(reader)
    assert fifo.is_fifo()
    with pytest.raises(OutputError, match="/dev/full: no space left"):
        write_atomic(Path("/dev/full"), "report")
    assert Path("/dev/full").is_char_device()
    write_atomic(Path("/dev/null"), "report")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("is_dangling", [False, True])
def test_what_a_link_points_to_is_written_and_the_link_stays(tmp_path: Path, is_dangling: bool) -> None:
    target, link = tmp_path / "there" / "report.json", tmp_path / "link.json"
    target.parent.mkdir()
    if not is_dangling:
        target.write_text("old")
    link.symlink_to(target)
    write_atomic(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert [file.name for file in target.parent.iterdir()] == ["report.json"]


def test_a_larger_file_is_never_put_in_the_place_of_a_link_a_pipe_or_a_folder(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name, reason in (("link", "is a symbolic link"), ("fifo", "is a device or pipe"), ("folder", "is a folder")):
        with pytest.raises(OutputError, match=reason), replacing(tmp_path / name):
            pytest.fail("nothing may be computed for it")
        temp = tmp_path / "temp"
        temp.write_text("new")
        with pytest.raises(OutputError, match=reason):
            publish(temp, tmp_path / name)
    assert (tmp_path / "target").read_text() == "old"


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    write_atomic(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"


def test_without_locks_a_file_that_one_process_can_make_guards_an_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    lock = tmp_path / "o.partial" / "lock"
    with ExitStack() as stack:
        with pytest.warns(RuntimeWarning, match="has no locks"):
            stack.enter_context(locked(lock, what=tmp_path / "o"))
        with pytest.raises(OutputError, match=r"in use, process .* delete .*lock\.held"):
            stack.enter_context(locked(lock, what=tmp_path / "o"))
    assert not (lock.parent / "lock.held").exists()
    dead = subprocess.Popen(["true"])
    dead.wait()
    (lock.parent / "lock.held").write_text(f"{socket.gethostname()} {dead.pid} another-container")
    with pytest.raises(OutputError, match=f"process {dead.pid} on"), locked(lock, what=tmp_path / "o"):
        pytest.fail("a process of another container may hold it")
    (lock.parent / "lock.held").write_text(f"{socket.gethostname()} {dead.pid} {files.pid_space()}")
    with pytest.warns(RuntimeWarning), locked(lock, what=tmp_path / "o"):
        pass
    (lock.parent / "lock.held").write_text("another-host 1")
    with pytest.raises(OutputError, match="process 1 on another-host"), locked(lock, what=tmp_path / "o"):
        pytest.fail("another host may hold it")


def test_an_output_can_be_written_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.warns(RuntimeWarning, match="has no locks"):
        write_all(tmp_path / "out.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]
