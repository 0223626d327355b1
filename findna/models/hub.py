"""Downloads models of a hub to the cache directory, by huggingface_hub: tensors, settings, card; never a pickle."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from findna.errors import ConfigError, ModelError
from findna.extras import need
from findna.io.files import make_folder, publish, raise_output_error, require_space, sync_folder
from findna.io.locks import locked
from findna.models.folders import read_config
from findna.models.pulled import Repo, parse_repo, pulled_folder, remember

REQUIRED = ("config.json", "model.safetensors")
FILES = (*REQUIRED, "golden.json", "CARD.md")
"""The downloaded files, in this order; no other file of a repository is requested."""

ORIGIN = "hub.json"
"""File with the origin of a pulled folder."""

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_TRUE = {"1", "ON", "YES", "TRUE"}
_TIMEOUT = 30.0


class Pulled(NamedTuple):
    """A model of a hub in the cache directory.

    Args:
        folder: The model folder.
        repo: The requested name.
        commit: The commit of the revision.
        sha256: Of its weights.
        is_new: Whether it was downloaded now.
    """

    folder: Path
    repo: Repo
    commit: str
    sha256: str
    is_new: bool


def pull(name: str, *, offline: bool = False, on_file: Callable[[str, int], None] = lambda file, n: None) -> Pulled:
    """Download a model of a hub to the cache directory, unless there is a complete copy.

    The hub is asked for the current commit of the revision. A folder gets its name when its weights match the sha256 in
    its config.json and its network; an interrupted download resumes. The hub is huggingface.co or $HF_ENDPOINT; for a
    private one, the token of huggingface_hub ($HF_TOKEN) is used.

    Args:
        name: `ORG/NAME`, or `ORG/NAME@REVISION` with a branch, a tag or a commit.
        offline: Do not use the network: the model must be in the cache. $HF_HUB_OFFLINE does the same.
        on_file: Called with name and size of each file before its download.

    Raises:
        ConfigError: The name is not ORG/NAME or ORG/NAME@REVISION.
        MissingExtraError: huggingface_hub is not installed.
        ModelError: The model does not exist, the hub cannot be reached, or what it has is not a whole model of ours.
        OutputError: It cannot be written, or another process is pulling it.
    """
    repo = parse_repo(name)
    if repo is None:
        raise ConfigError(f"{name!r} is not a hub repository: ORG/NAME or ORG/NAME@REVISION")
    if offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE:
        folder = pulled_folder(repo)
        if folder is None:
            raise ModelError(f"model {repo}: was not pulled, and offline=True or HF_HUB_OFFLINE forbids the network")
        return _found(repo, folder)
    hub = _huggingface_hub()
    with _said_plainly(hub, repo):
        found = hub.HfApi(endpoint=_endpoint(hub)).model_info(
            repo.id, revision=repo.revision, files_metadata=True, timeout=_TIMEOUT
        )
    commit = str(found.sha)
    if not re.fullmatch("[0-9a-f]{40}", commit):
        raise ModelError(f"hub repository {repo}: {_endpoint(hub)} returns no commit: it is not a hub")
    folder = repo.home / commit
    make_folder(repo.home)
    lock = repo.home / ".lock"
    with locked(lock, what=repo.home):
        try:
            is_new = not _is_whole(folder)
            if is_new:
                shutil.rmtree(folder, ignore_errors=True)
                _fetch(hub, repo, commit, _sizes(repo, found.siblings), folder, on_file)
            remember(repo, commit)
        finally:
            lock.unlink()
    return _found(repo, folder)._replace(is_new=is_new)


def _found(repo: Repo, folder: Path) -> Pulled:
    return Pulled(folder, repo, folder.name, _load(folder), is_new=False)


def _load(folder: Path) -> str:
    """The sha256 of the weights of a model folder, which fit its network."""
    from findna.models.store import load_model  # loads torch

    return load_model(folder).sha256


def _is_whole(folder: Path) -> bool:
    try:
        _load(folder)
    except ModelError:  # missing, or damaged since
        return False
    return True


def _huggingface_hub() -> Any:
    names = ("huggingface_hub.errors", "huggingface_hub.utils")
    hub = need(*names, extra="hub", purpose="findna model pull")
    hub.utils.disable_progress_bars()
    hub.utils.logging.set_verbosity_error()
    return hub


def _endpoint(hub: Any) -> str:
    return os.environ.get("HF_ENDPOINT") or str(hub.constants.ENDPOINT)


def _sizes(repo: Repo, siblings: Any) -> dict[str, int]:
    """Sizes of the repository's files to download, in bytes, by name, in order.

    Raises:
        ModelError: It lacks one that a model must have.
    """
    sizes = {one.rfilename: one.size or 0 for one in siblings or ()}
    if missing := [name for name in REQUIRED if name not in sizes]:
        pickles = [name for name in sizes if name.endswith(_PICKLES)]
        hint = f"; it has pickles ({', '.join(pickles[:3])}), which findna does not download" if pickles else ""
        raise ModelError(f"hub repository {repo}: is not a findna model: it has no {' and no '.join(missing)}{hint}")
    return {name: sizes[name] for name in FILES if name in sizes}


def _fetch(
    hub: Any, repo: Repo, commit: str, sizes: dict[str, int], folder: Path, on_file: Callable[[str, int], None]
) -> None:
    """Download the files of a commit beside `folder`, check them, and rename them to `folder`."""
    partial = folder.with_name(f".{commit}.partial")
    require_space(repo.home, sum(sizes.values()), hint="free some, or set FINDNA_CACHE to another place")
    for name, size in sizes.items():
        on_file(name, size)
        with _said_plainly(hub, repo):
            hub.hf_hub_download(repo.id, name, revision=commit, local_dir=partial, endpoint=_endpoint(hub))
        if name == "config.json":  # before a large download of something else
            _checked(repo, partial, read_config)
    _checked(repo, partial, _load)
    shutil.rmtree(partial / ".cache")  # huggingface_hub's own notes
    origin = {"endpoint": _endpoint(hub), "repository": repo.id, "revision": repo.revision, "commit": commit}
    (partial / ORIGIN).write_text(json.dumps(origin, indent=2) + "\n")
    for path in partial.iterdir():
        publish(path, path)
    partial.rename(folder)
    sync_folder(folder.parent)


def _checked(repo: Repo, partial: Path, check: Callable[[Path], object]) -> None:
    """Check the downloaded files; if the check fails, they are deleted, and the error names the repository."""
    try:
        check(partial)
    except ModelError as error:
        shutil.rmtree(partial)
        reason = str(error).removeprefix(f"model {partial}: ")
        raise ModelError(f"hub repository {repo}: {reason}") from error


@contextmanager
def _said_plainly(hub: Any, repo: Repo) -> Iterator[None]:
    """Turn the errors of huggingface_hub into ours."""
    errors = hub.errors
    http_error = errors.HfHubHTTPError.__mro__[1]  # of the HTTP client that it uses, requests or httpx
    what, endpoint = f"hub repository {repo}", _endpoint(hub)
    try:
        yield
    except errors.GatedRepoError as error:
        raise ModelError(f"{what}: access is restricted: ask its owner, then set HF_TOKEN") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"{what}: {endpoint} has no such repository, or it is private: check the name, or set HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{what}: it has no branch, tag or commit {repo.revision!r}") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "")
        raise ModelError(f"{what}: {endpoint} answers with HTTP {status}: try again later") from error
    except (http_error, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise_output_error(error, repo.home)
        raise ModelError(
            f"{what}: {endpoint} cannot be reached, or the connection broke: check the network; what was fetched is "
            "kept, and the next try resumes there"
        ) from error
