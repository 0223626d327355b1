import errno
import os
from pathlib import Path

import pytest

from findna.errors import OutputError
from findna.io import spool as spool_module
from findna.io.spool import Spool, changes, holds_run, remove_leftovers

SYNC = "fdatasync" if hasattr(os, "fdatasync") else "fsync"


def _spool(folder: Path, *, resume: bool = False, discard: bool = False, **fingerprint: object) -> Spool:
    return Spool(folder / "out.partial", ["a", "b"], fingerprint, resume=resume, discard=discard)


def _content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / "out.partial" / name).read_bytes() for name in ("a", "b")}


def test_what_was_committed_is_there_after_a_resume_and_what_was_not_is_cut(tmp_path: Path) -> None:
    with _spool(tmp_path, key=1) as spool:
        spool.append("a", b"one")
        spool.commit({"n": 1})
        spool.append("a", b"two")
        spool.path("main.new").write_bytes(b"x")
        spool.append("b", b"x" * (2 << 20))  # more than is buffered: it is in the file, but not certain
    assert len(_content(tmp_path)["b"]) > 0
    with _spool(tmp_path, resume=True, key=1) as spool:
        assert spool.is_resumed
        assert spool.state == {"n": 1}
        assert (spool.size("a"), spool.size("b")) == (3, 0)
        assert _content(tmp_path) == {"a": b"one", "b": b""}
        assert not spool.path("main.new").exists()
        spool.append("a", b"2")
        spool.commit({"n": 2})
    with _spool(tmp_path, resume=True, key=1) as spool:
        assert spool.state == {"n": 2}
    assert _content(tmp_path)["a"] == b"one2"


def test_a_resume_without_a_spool_starts_anew(tmp_path: Path) -> None:
    with _spool(tmp_path, resume=True) as spool:
        assert not spool.is_resumed
        assert spool.state == {}


def test_a_partial_run_is_refused_continued_or_discarded(tmp_path: Path) -> None:
    with _spool(tmp_path) as spool:
        spool.append("a", b"one")
        spool.commit({"n": 1})
    with pytest.raises(OutputError, match=r"resume=True continues it.* or discard it with force=True"):
        _spool(tmp_path)
    with _spool(tmp_path, discard=True) as spool:
        assert spool.state == {}
        assert _content(tmp_path)["a"] == b""


def test_another_fingerprint_is_refused_by_the_names_of_the_keys_and_nothing_is_lost(tmp_path: Path) -> None:
    with _spool(tmp_path, model="tiny", precision="fp32", size=(1, 2)) as spool:
        spool.append("a", b"one")
        spool.commit({"n": 1})
    with pytest.raises(OutputError, match='model: "base" now, "tiny" before; precision: not given now, "fp32" before'):
        _spool(tmp_path, resume=True, model="base", size=(1, 2))
    with pytest.raises(OutputError, match="batch: 4096 now, not given before"):
        _spool(tmp_path, resume=True, model="tiny", precision="fp32", size=(1, 2), params={"batch": 4096})
    with _spool(tmp_path, resume=True, model="tiny", precision="fp32", size=(1, 2)) as spool:
        assert spool.state == {"n": 1}


OWN = {"pool": "mean,sd", "blocks": "5,10", "layer": -1, "raw": False, "window": 1000, "stride": 1000}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"pool": "mean", "blocks": "", "layer": 2, "raw": True}, 'pool: "mean" now, not given before'),
        ({"raw": True}, "raw: true now, false before"),
        ({"window": 100, "stride": 100}, "window: 100 now, 1000 before"),
        ({"stride": 100}, "stride: 100 now, not given before"),
        ({}, ""),
    ],
)
def test_only_settings_that_were_given_are_named(given: dict[str, object], text: str) -> None:
    assert changes({"params": OWN}, {"params": OWN | given}) == text


def test_a_run_with_an_older_form_of_the_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(spool_module, "_FORMAT", {})
        _spool(tmp_path, key=1).close()
    with pytest.raises(
        OutputError, match=r"settings .spool format: \d now, not given before.* discard it with force=True"
    ):
        _spool(tmp_path, resume=True, key=1)


@pytest.mark.parametrize(("damaged", "kept"), [(0, 0), (3, 1), (6, 2)])
def test_a_commit_whose_bytes_are_damaged_is_dropped_with_all_after_it(tmp_path: Path, damaged: int, kept: int) -> None:
    with _spool(tmp_path) as spool:
        for n in (1, 2, 3):
            spool.append("a", b"abc")
            spool.append("b", b"defg")
            spool.commit({"n": n})
    path = tmp_path / "out.partial" / "a"
    path.write_bytes(path.read_bytes()[:damaged] + b"!" + path.read_bytes()[damaged + 1 :])
    with _spool(tmp_path, resume=True) as spool:
        assert spool.state.get("n", 0) == kept
    assert _content(tmp_path) == {"a": b"abc" * kept, "b": b"defg" * kept}


def test_a_damaged_journal_line_ends_the_journal(tmp_path: Path) -> None:
    with _spool(tmp_path) as spool:
        for n in (1, 2, 3):
            spool.append("a", b"abc")
            spool.commit({"n": n})
    journal = tmp_path / "out.partial" / "journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:2], lines[2].replace(b'"n":2', b'"n":9'), *lines[3:]]))
    with _spool(tmp_path, resume=True) as spool:
        assert spool.state == {"n": 1}


def test_a_spool_in_use_is_refused(tmp_path: Path) -> None:
    with _spool(tmp_path), pytest.raises(OutputError, match="in use"):
        _spool(tmp_path, discard=True)


def test_the_journal_of_a_removed_spool_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    removed, unlink = [], Path.unlink

    def note(path: Path, *, missing_ok: bool = False) -> None:
        removed.append(path.name)
        unlink(path, missing_ok=missing_ok)

    with Spool(tmp_path / "spool", [f"x{i}" for i in range(30)], {}) as spool:
        spool.commit({})
        monkeypatch.setattr(Path, "unlink", note)
        spool.remove()
    assert removed[0] == "journal"  # after a kill, no row is computed again


def test_only_a_folder_with_a_commit_is_a_run_and_it_is_never_taken_for_leftovers(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "journal").mkdir(parents=True)
    with _spool(tmp_path) as spool:
        spool.append("a", b"x")
        spool.commit({"rows": 1})
    assert [holds_run(tmp_path / name) for name in ("file", "folder", "out.partial")] == [False, False, True]
    remove_leftovers(tmp_path / "out.partial")
    assert holds_run(tmp_path / "out.partial")
    Spool(left := tmp_path / "left", ["arrays", "scores"], {}).close()
    (left / "journal").unlink()  # what a run leaves that is killed while it removes its spool
    remove_leftovers(left)
    assert not left.exists()


def test_a_removed_spool_leaves_nothing(tmp_path: Path) -> None:
    with _spool(tmp_path) as spool:
        spool.append("a", b"one")
        spool.commit({})
        spool.path("main.new").write_bytes(b"x")
        spool.remove()
    assert list(tmp_path.iterdir()) == []


def test_every_data_file_is_synced_before_the_journal_line_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _spool(tmp_path) as spool:
        journal, synced = tmp_path / "out.partial" / "journal", []
        monkeypatch.setattr(os, SYNC, lambda _: synced.append(journal.stat().st_size))
        before = journal.stat().st_size
        for name in ("a", "b"):
            spool.append(name, b"one")
        spool.commit({})
    assert synced == [before, before, journal.stat().st_size]
    assert journal.stat().st_size > before


def test_a_full_disk_is_an_output_error_and_the_last_commit_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with _spool(tmp_path) as spool:
        spool.append("a", b"one")
        spool.commit({"n": 1})
        spool.append("a", b"two")
        with monkeypatch.context() as patch:
            patch.setattr(os, SYNC, full)
            with pytest.raises(OutputError, match=r"no space left .* resume=True continues"):
                spool.commit({"n": 2})
    with _spool(tmp_path, resume=True) as spool:
        assert spool.state == {"n": 1}


FOREIGN = ("thesis.txt", "x", "journal", "lock")


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("is_link", [False, True])
@pytest.mark.parametrize("how", ["new", "resume", "discard"])
def test_a_folder_that_is_no_spool_is_refused_and_stays(tmp_path: Path, name: str, is_link: bool, how: str) -> None:
    folder = tmp_path / "out.partial"
    real = tmp_path / "elsewhere" if is_link else folder
    real.mkdir()
    (real / name).write_text("of the user")
    if name == "lock":
        (real / "notes").write_text("of the user")
    if is_link:
        folder.symlink_to(real)
    with pytest.raises(OutputError, match="is a symbolic link" if is_link else "holds files that findna did not write"):
        _spool(tmp_path, resume=how == "resume", discard=how == "discard")
    assert (real / name).read_text() == "of the user"


def test_a_file_in_the_place_of_a_spool_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "out.partial").write_text("of the user")
    with pytest.raises(OutputError, match="is a file: move it"):
        _spool(tmp_path, discard=True)
    assert (tmp_path / "out.partial").read_text() == "of the user"


def test_what_a_user_put_into_a_spool_stays(tmp_path: Path) -> None:
    with _spool(tmp_path) as spool:
        spool.append("a", b"1")
        spool.commit({})
        (spool.folder / "notes.txt").write_text("of the user")
    with _spool(tmp_path, discard=True) as spool:
        spool.remove()
    assert [path.name for path in (tmp_path / "out.partial").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("left", [(), ("lock",), ("lock", "findna.txt"), ("findna.txt",)])
def test_what_a_kill_leaves_of_a_spool_is_taken_again(tmp_path: Path, left: tuple[str, ...]) -> None:
    (tmp_path / "out.partial").mkdir()
    for name in left:
        (tmp_path / "out.partial" / name).touch()
    with _spool(tmp_path) as spool:
        assert not spool.is_resumed
        spool.remove()
    assert not (tmp_path / "out.partial").exists()


def test_a_spool_that_cannot_be_deleted_is_not_locked_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *, missing_ok: bool = False) -> None:
        raise OSError("read-only")

    spool = Spool(tmp_path / "s.partial", ["a"], {})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with pytest.raises(OSError, match="read-only"):
            spool.leave(is_failed=True)
    Spool(tmp_path / "s.partial", ["a"], {}, resume=True).close()
