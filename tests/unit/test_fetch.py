"""Genomes from a server: checked, resumed after a break, from the next mirror; nothing half under the final name."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from findna.data import download, fetch
from findna.data.fetch import fetch_genome
from findna.errors import ConfigError, GenomeError, InputError
from findna.train.sources import find_genome

pytest.importorskip("pooch")

BASES = "".join(np.random.default_rng(5).choice(list("ACGT"), 300_000))
CONTENT = f">chr1\n{BASES}\n".encode()
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves files from memory.

    Attributes:
        files: Content by path.
        asked: (path, Range or "") of every request.
        breaks_after: How many bytes of a large answer go out before the connection breaks; one entry an answer.
        has_ranges: Whether a part of a file can be asked for.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.breaks_after: list[int] = []
        self.has_ranges = True
        self.status = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def ranges(self, path: str) -> list[str]:
        return [asked for name, asked in self.asked if name == path]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range", "")
        server.asked.append((self.path, asked))
        content = server.files.get(self.path)
        if server.status or content is None:
            self.send_error(server.status or 404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.has_ranges else 0
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        end = len(content)
        if len(content) > 1000 and server.breaks_after:
            end = start + server.breaks_after.pop(0)
        self.wfile.write(content[start:end])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Server]]:
    """Start servers; they know no files yet."""
    monkeypatch.setattr(download, "WAIT", 0.0)
    monkeypatch.delenv("FINDNA_GENOME", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    running = []

    def start() -> Server:
        server = Server()
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server(serve: Callable[[], Server]) -> Server:
    """One with a genome and the list of its checksum."""
    server = serve()
    server.files = {"/d/g.fa": CONTENT, "/d/md5sum.txt": f"{'0' * 32}  other.fa\n{MD5}  ./g.fa\n".encode()}
    return server


def kept(own_cache: Path) -> list[str]:
    return sorted(path.name for path in (own_cache / "genomes").iterdir() if not path.name.endswith(".fai"))


def test_a_genome_is_where_pretrain_looks_for_it(server: Server, own_cache: Path) -> None:
    seen = []
    found = fetch_genome("g", urls=[server.url("/d/g.fa")], on_bytes=lambda done, total: seen.append((done, total)))
    assert found.path == own_cache / "genomes" / "g.fa" == find_genome()
    assert found.path.read_bytes() == CONTENT
    assert found.checksum == f"md5:{MD5}"
    assert found.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert (found.n_contigs, found.n_bases, found.n_bytes, found.is_new) == (1, 300_000, len(CONTENT), True)
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert kept(own_cache) == ["g.fa", "g.fa.json"]
    assert json.loads((own_cache / "genomes/g.fa.json").read_text())["url"] == server.url("/d/g.fa")


def test_what_is_there_is_not_fetched_again_unless_forced(server: Server) -> None:
    url = server.url("/d/g.fa")
    fetch_genome("g", urls=[url])
    n_asked = len(server.asked)
    again = fetch_genome("g", urls=[url])
    assert (again.is_new, again.url, len(server.asked)) == (False, url, n_asked)
    again.path.write_bytes(CONTENT.replace(b"A", b"C", 1))
    with pytest.raises(InputError, match="its checksum is not"):
        fetch_genome("g", urls=[url])
    assert fetch_genome("g", urls=[url], force=True).path.read_bytes() == CONTENT


def test_a_file_that_somebody_put_there_is_left_alone(own_cache: Path) -> None:
    (own_cache / "genomes").mkdir(parents=True)
    (own_cache / "genomes/own.2bit").write_bytes(b"not a genome")
    with pytest.raises(GenomeError):
        fetch_genome("own")
    assert (own_cache / "genomes/own.2bit").exists()


def test_a_download_goes_on_where_the_connection_broke(server: Server, own_cache: Path) -> None:
    server.breaks_after = [100_000, 70_000]
    found = fetch_genome("g", urls=[server.url("/d/g.fa")])
    assert found.path.read_bytes() == CONTENT
    assert server.ranges("/d/g.fa") == ["", "bytes=65536-", "bytes=131072-"]


def test_the_next_call_goes_on_where_this_one_failed(server: Server, own_cache: Path) -> None:
    server.breaks_after = [70_000, 0, 0]
    with pytest.raises(InputError, match=r"(?s)g.fa could not be fetched.*65,536 bytes of it are kept"):
        fetch_genome("g", urls=[server.url("/d/g.fa")])
    assert not (own_cache / "genomes/g.fa").exists()
    fetch_genome("g", urls=[server.url("/d/g.fa")])
    assert server.ranges("/d/g.fa")[-1] == "bytes=65536-"
    assert kept(own_cache) == ["g.fa", "g.fa.json"]


def test_a_server_without_ranges_gives_the_whole_file_again(server: Server) -> None:
    server.has_ranges = False
    server.breaks_after = [100_000]
    assert fetch_genome("g", urls=[server.url("/d/g.fa")]).path.read_bytes() == CONTENT


def test_the_rest_may_come_from_another_mirror(server: Server, serve: Callable[[], Server]) -> None:
    other = serve()
    other.files = dict(server.files)
    server.breaks_after = [100_000]
    found = fetch_genome("g", urls=[server.url("/d/g.fa"), other.url("/d/g.fa")])
    assert found.url == other.url("/d/g.fa")
    assert other.ranges("/d/g.fa") == ["bytes=65536-"]
    assert found.path.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [404, 500, 503])
def test_the_next_mirror_is_asked(server: Server, serve: Callable[[], Server], status: int) -> None:
    broken = serve()
    broken.status = status
    found = fetch_genome("g", urls=[broken.url("/d/g.fa"), "http://127.0.0.1:9/g.fa", server.url("/d/g.fa")])
    assert found.url == server.url("/d/g.fa")


def test_a_wrong_checksum_leaves_nothing(server: Server, own_cache: Path) -> None:
    server.files["/d/g.fa"] = CONTENT.replace(b"A", b"C", 1)
    with pytest.raises(InputError, match=f"its content is not md5:{MD5}"):
        fetch_genome("g", urls=[server.url("/d/g.fa")])
    assert server.ranges("/d/g.fa") == [""]
    assert kept(own_cache) == []


def test_leftovers_of_another_file_are_thrown_away(server: Server, own_cache: Path) -> None:
    partial = own_cache / "genomes/.g.fa.partial"
    partial.parent.mkdir(parents=True)
    for leftover in (b"x" * 1000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 1)):
        partial.write_bytes(leftover)
        assert fetch_genome("g", urls=[server.url("/d/g.fa")], force=True).path.read_bytes() == CONTENT
        (own_cache / "genomes/g.fa").unlink()


def test_a_checksum_can_be_given_or_lie_beside_the_file(server: Server, own_cache: Path) -> None:
    del server.files["/d/md5sum.txt"]
    url = server.url("/d/g.fa")
    with pytest.raises(InputError, match="no published checksum found"):
        fetch_genome("g", urls=[url])
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    server.files["/d/g.fa.sha256"] = f"{sha256} *g.fa\n".encode()
    assert fetch_genome("g", urls=[url]).checksum == f"sha256:{sha256}"
    assert fetch_genome("h", urls=[url], checksum=f"MD5:{MD5.upper()}").checksum == f"md5:{MD5}"
    with pytest.raises(ConfigError, match="must be md5: and 32"):
        fetch_genome("i", urls=[url], checksum="md5:12")


def test_what_is_no_genome_is_refused(server: Server, own_cache: Path) -> None:
    server.files["/d/g.fa"] = b"<html>welcome to the hotel</html>"
    checksum = f"md5:{hashlib.md5(server.files['/d/g.fa']).hexdigest()}"
    with pytest.raises(GenomeError, match="text before the first '>' header"):
        fetch_genome("g", urls=[server.url("/d/g.fa")], checksum=checksum)
    assert "g.fa" not in kept(own_cache)


def test_a_genome_is_copied_from_a_folder(tmp_path: Path, own_cache: Path) -> None:
    folder = tmp_path / "a mirror"
    folder.mkdir()
    with pytest.raises(InputError, match=r"has no g\.2bit, g\.fa"):
        fetch_genome("g", folder=folder)
    (folder / "g.fa").write_bytes(CONTENT)
    (folder / "md5sum.txt").write_text(f"{MD5}  g.fa\n")
    found = fetch_genome("g", folder=folder)
    assert found.path.read_bytes() == CONTENT == (folder / "g.fa").read_bytes()


def test_what_is_copied_is_held_against_our_own_checksum_where_no_other_is(tmp_path: Path, own_cache: Path) -> None:
    (tmp_path / "hg38.2bit").write_bytes(b"something else")
    with pytest.raises(InputError, match="its content is not md5:dcc3ea27079aa6dc3f9deccd7275e0f8"):
        fetch_genome("hg38", folder=tmp_path)
    assert (tmp_path / "hg38.2bit").exists()
    assert kept(own_cache) == []


def test_without_a_network_it_says_so(serve: Callable[[], Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MIRRORS", ("http://127.0.0.1:9/{name}.2bit", "http://127.0.0.1:10/{name}.2bit"))
    with pytest.raises(InputError) as caught:
        fetch_genome("hg38")
    lines = str(caught.value).splitlines()
    assert lines[0] == "hg38.2bit could not be fetched"
    assert lines[1] == "  http://127.0.0.1:9/hg38.2bit: cannot be reached: no network, or the server is down"
    assert "copies a file that you have" in lines[-1]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden"])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(ConfigError, match="not a genome name"):
        fetch_genome(name)
