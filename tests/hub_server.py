"""A server that answers as a hub does, for what huggingface_hub asks of it: commits, files, ranges, errors."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Hub(ThreadingHTTPServer):
    """A hub on a free port of this machine.

    Attributes:
        commits: Files by repository and commit.
        revisions: Commit by repository and revision.
        gated: Repositories that want a token.
        asked: Method and path of every request.
        breaks_after: Bytes of a large answer that go out before the connection breaks; one entry an answer.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.revisions: dict[str, dict[str, str]] = {}
        self.gated: set[str] = set()
        self.asked: list[str] = []
        self.breaks_after: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def push(self, repo: str, files: dict[str, bytes], *, revision: str = "main") -> str:
        """Make a commit of these files, and let a revision be it."""
        digest = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits.setdefault(repo, {})[digest] = files
        self.revisions.setdefault(repo, {})[revision] = digest
        return digest

    def fetched(self) -> list[str]:
        """The files that were sent, by name, each time."""
        return [path.rpartition("/")[2] for method, path in map(str.split, self.asked) if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        path = self.path.partition("?")[0]
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path):
            self._info(*match.groups())
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(*match.groups(), with_body=with_body)
        else:
            self._fail(404, "EntryNotFound")

    def _info(self, repo: str, revision: str) -> None:
        if repo in self.server.gated:
            self._fail(403, "GatedRepo")
            return
        if repo not in self.server.commits:
            self._fail(404, "RepoNotFound")
            return
        revision = revision.replace("%2F", "/")
        commit = self.server.revisions[repo].get(revision, revision)
        if commit not in self.server.commits[repo]:
            self._fail(404, "RevisionNotFound")
            return
        files = self.server.commits[repo][commit]
        siblings = [{"rfilename": name, "size": len(content)} for name, content in files.items()]
        body = json.dumps({"id": repo, "modelId": repo, "sha": commit, "siblings": siblings, "tags": []}).encode()
        self._send(200, body, {"Content-Type": "application/json"})

    def _file(self, repo: str, commit: str, name: str, *, with_body: bool) -> None:
        content = self.server.commits[repo][commit][name]
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": commit,
            "Accept-Ranges": "bytes",
        }
        asked = self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if with_body and asked else 0
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        self._send(206 if start else 200, body, headers, with_body=with_body)

    def _fail(self, status: int, code: str) -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, with_body: bool = True) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if not with_body:
            return
        if len(body) > 1000 and self.server.breaks_after:
            body = body[: self.server.breaks_after.pop(0)]
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub that answers until the end of the block."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


def files_of(folder: Path) -> dict[str, bytes]:
    """A folder as the files of a commit."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
