"""Models pulled from a hub: their names, their places in the cache directory, and a list of them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from findna.errors import ModelError, system_reason
from findna.io.cache import cache_dir
from findna.io.files import write_atomic
from findna.io.structured import read_json

MAIN = "main"
"""The default revision."""

_PART = r"[A-Za-z0-9](?:[\w.-]{0,94}\w)?"
# A hub allows neither "--" nor ".." in a name, so "--" can stand for "/", and no name leads out of the folder.
_NAME = re.compile(rf"(?![^@]*--)(?!.*\.\.)(?P<id>{_PART}/{_PART})(?<!\.git)(@(?P<revision>\w[\w./-]*))?", re.ASCII)


class Repo(NamedTuple):
    """A repository of a hub at a revision.

    Args:
        id: Owner and name, `ORG/NAME`.
        revision: A branch, a tag or a commit.

    >>> str(parse_repo("lab/teacher@v2")), str(parse_repo("lab/teacher")), parse_repo("./lab/teacher")
    ('lab/teacher@v2', 'lab/teacher', None)
    """

    id: str
    revision: str = MAIN

    def __str__(self) -> str:
        return self.id if self.revision == MAIN else f"{self.id}@{self.revision}"

    @property
    def home(self) -> Path:
        """Its folder in the cache directory: one folder per commit, and `revisions.json`, which names them."""
        return cache_dir() / "models" / self.id.replace("/", "--")


def parse_repo(text: str) -> Repo | None:
    """The repository `ORG/NAME` or `ORG/NAME@REVISION` in a text; None if it is not such a name."""
    match = _NAME.fullmatch(text)
    return Repo(match["id"], match["revision"] or MAIN) if match else None


def pulled_folder(repo: Repo) -> Path | None:
    """The model folder of a repository's revision; None if it was not pulled."""
    commit = _revisions(repo.home).get(repo.revision, repo.revision)
    folder = repo.home / commit
    return folder if (folder / "config.json").is_file() else None


def pulled_models() -> Iterator[tuple[Repo, Path]]:
    """Yield every repository and revision that was pulled, with its folder, by name."""
    for path in sorted((cache_dir() / "models").glob("*/revisions.json")):
        for revision in sorted(_revisions(path.parent)):
            repo = Repo(path.parent.name.replace("--", "/", 1), revision)
            if folder := pulled_folder(repo):
                yield repo, folder


def remember(repo: Repo, commit: str) -> None:
    """Store the commit of a revision; its folder is in the repository's home.

    Raises:
        OutputError: It cannot be written.
    """
    revisions = _revisions(repo.home) | {repo.revision: commit}
    write_atomic(repo.home / "revisions.json", json.dumps(revisions, indent=2) + "\n")


def _revisions(home: Path) -> dict[str, str]:
    path = home / "revisions.json"
    try:
        found = read_json(path)
        if not isinstance(found, dict):
            raise ValueError("it must be an object")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = system_reason(error)
        raise ModelError(f"{path}: cannot be read: {reason}; remove {home} and pull the model again") from error
    return {str(revision): str(commit) for revision, commit in found.items()}
