"""Models pulled from a server that answers as a hub does: checked, resumed, found by name, never a pickle."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Hub, files_of, running_hub

from findna.errors import ConfigError, MissingExtraError, ModelError, OutputError
from findna.io.locks import locked
from findna.models.folders import find_model
from findna.models.hub import FILES, pull
from findna.models.pulled import Repo, parse_repo, pulled_models
from findna.models.store import load_model, save_model, verify_model
from findna.nn.chordmixer import ChordMixer, initialise
from findna.sizes import ModelConfig

pytest.importorskip("huggingface_hub")

REPO = "lab/teacher"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, which HF_ENDPOINT names."""
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield hub


def model_files(folder: Path, seed: int = 0) -> dict[str, bytes]:
    """A model folder's files, as they lie in a repository."""
    size = ModelConfig(channels=12, hidden=8, track_width=2, n_layers=2, max_len=53, n_class_tokens=3)
    save_model(folder, initialise(ChordMixer(size), seed), name="little", training={}, card="# little\n")
    return files_of(folder)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    return model_files(tmp_path / "model")


def test_a_repository_becomes_a_model_folder_that_its_name_finds(
    hub: Hub, files: dict[str, bytes], own_cache: Path
) -> None:
    commit = hub.push(REPO, files)
    seen: list[tuple[str, int]] = []
    found = pull(REPO, on_file=lambda name, n: seen.append((name, n)))
    assert (found.commit, found.is_new) == (commit, True)
    assert seen == [(name, len(files[name])) for name in FILES]
    assert found.folder == own_cache / "models" / "lab--teacher" / commit
    assert {name: (found.folder / name).read_bytes() for name in FILES} == files
    assert sorted(path.name for path in found.folder.iterdir()) == sorted([*FILES, "hub.json"])
    assert json.loads((found.folder / "hub.json").read_text())["endpoint"] == hub.url
    assert find_model(REPO) == find_model(f"{REPO}@{commit}") == found.folder
    model = load_model(REPO)
    assert model.sha256 == found.sha256
    assert all(is_ok for _, is_ok, _ in verify_model(model))
    assert list(pulled_models()) == [(Repo(REPO), found.folder)]


def test_what_is_there_is_not_fetched_again_and_a_new_commit_is(
    hub: Hub, files: dict[str, bytes], tmp_path: Path
) -> None:
    first = hub.push(REPO, files)
    hub.push(REPO, files, revision="refs/v1")
    pull(REPO)
    hub.asked.clear()
    assert not pull(REPO).is_new
    assert hub.fetched() == ["main?blobs=true"]
    second = hub.push(REPO, model_files(tmp_path / "other", seed=1))
    assert pull(REPO).is_new
    assert find_model(REPO).name == second
    assert not pull(f"{REPO}@refs/v1").is_new  # the same commit by another name
    assert find_model(f"{REPO}@refs/v1").name == first
    assert [str(repo) for repo, _ in pulled_models()] == [REPO, f"{REPO}@refs/v1"]


def test_offline_asks_nothing_of_the_network(
    hub: Hub, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.push(REPO, files)
    with pytest.raises(ModelError, match=r"^model lab/teacher: was not pulled, and offline=True"):
        pull(REPO, offline=True)
    assert hub.asked == []
    found = pull(REPO)
    hub.asked.clear()
    assert pull(REPO, offline=True) == found._replace(is_new=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert pull(REPO) == found._replace(is_new=False)
    assert hub.asked == []


def test_what_was_damaged_since_is_fetched_again(hub: Hub, files: dict[str, bytes]) -> None:
    hub.push(REPO, files)
    folder = pull(REPO).folder
    for name in ("model.safetensors", "config.json"):
        (folder / name).unlink()
        with pytest.raises(ModelError):
            pull(REPO, offline=True)
        assert pull(REPO).is_new
        assert {name: (folder / name).read_bytes() for name in FILES} == files


def test_a_pickle_is_never_asked_for(hub: Hub, files: dict[str, bytes]) -> None:
    hub.push(REPO, files | {"pytorch_model.bin": b"cos\nsystem\n", "tokenizer.json": b"{}", "setup.py": b"1/0"})
    folder = pull(REPO).folder
    assert not {"pytorch_model.bin", "tokenizer.json", "setup.py"} & {path.name for path in folder.iterdir()}
    assert not any(path.partition("?")[0].endswith((".bin", "tokenizer.json", ".py")) for path in hub.asked)
    hub.push("lab/pickle", {"config.json": files["config.json"], "pytorch_model.bin": b"cos\nsystem\n"})
    with pytest.raises(ModelError, match=r"has no model\.safetensors; it has pickles \(pytorch_model\.bin\)"):
        pull("lab/pickle")


def test_a_broken_connection_is_gone_on_with(hub: Hub, files: dict[str, bytes]) -> None:
    hub.push(REPO, files)
    hub.breaks_after = [700]
    assert pull(REPO).is_new
    assert load_model(REPO).name == "little"


def test_other_weights_than_config_tells_are_refused(hub: Hub, files: dict[str, bytes], own_cache: Path) -> None:
    hub.push(REPO, files | {"model.safetensors": files["model.safetensors"][:-1] + b"?"})
    for _ in range(2):  # what was refused is not kept
        with pytest.raises(ModelError, match=r"^hub repository lab/teacher: model\.safetensors has sha256 "):
            pull(REPO)
    assert not any(path.is_dir() for path in (own_cache / "models/lab--teacher").iterdir())
    with pytest.raises(ModelError, match="findna model pull lab/teacher"):
        find_model(REPO)


def test_another_kind_of_model_is_refused_before_its_weights_are_fetched(hub: Hub, files: dict[str, bytes]) -> None:
    hub.push(REPO, files | {"config.json": b'{"model_type": "bert"}'})
    with pytest.raises(
        ModelError, match=r"^hub repository lab/teacher: config\.json does not have schema 'findna-model"
    ):
        pull(REPO)
    assert "model.safetensors" not in hub.fetched()


def test_what_the_hub_lacks_is_said_plainly(hub: Hub, files: dict[str, bytes]) -> None:
    hub.push(REPO, files)
    hub.gated.add("lab/secret")
    messages = {
        "lab/absent": rf"{hub.url} has no such repository, or it is private",
        f"{REPO}@v9": "it has no branch, tag or commit 'v9'",
        "lab/secret": "access is restricted",
    }
    for name, message in messages.items():
        with pytest.raises(ModelError, match=f"^hub repository {name}: {message}"):
            pull(name)
    hub.shutdown()
    hub.server_close()
    with pytest.raises(ModelError, match=rf"{hub.url} cannot be reached"):
        pull(REPO)


def test_a_name_is_owner_and_repository() -> None:
    names = ("teacher", "../lab", "lab/../teacher", "lab/teacher@../..", "a--b/c", "lab/teacher/x", "", "a/b@")
    for name in (*names, "lab/teacher.git", "lab/teacher-", "lab./teacher", f"lab/{'t' * 97}"):
        assert parse_repo(name) is None, name
        with pytest.raises(ConfigError, match="is not a hub repository"):
            pull(name)
    assert parse_repo("lab/teacher@refs/pr/1") == Repo("lab/teacher", "refs/pr/1")
    assert parse_repo("lab/teacher@a--b") == Repo("lab/teacher", "a--b")


def test_two_pulls_at_a_time_do_not_meet(hub: Hub, files: dict[str, bytes], own_cache: Path) -> None:
    hub.push(REPO, files)
    home = own_cache / "models" / "lab--teacher"
    home.mkdir(parents=True)
    with locked(home / ".lock", what=home), pytest.raises(OutputError, match="another process is writing it"):
        pull(REPO)


def test_without_the_extra_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'findna\[hub\]'"):
        pull(REPO)
