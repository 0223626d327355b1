"""`findna data fetch`: from a server or a folder to a genome that `findna pretrain` finds by itself."""

import functools
import hashlib
import json
import os
import random
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from command import call, fasta

pytest.importorskip("pooch")

Write = Callable[..., Path]
DEAD = "http://127.0.0.1:9/g.fa"


class Quiet(SimpleHTTPRequestHandler):
    """Files of a folder."""

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder with a genome and its checksum, and the URL that it is served at."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "mirror"
    folder.mkdir()
    draws = random.Random(4)
    content = fasta({name: "".join(draws.choices("ACGT", k=3000)) for name in ("chr1", "chr2")}).encode()
    (folder / "g.fa").write_bytes(content)
    (folder / "md5sum.txt").write_text(f"{hashlib.md5(content).hexdigest()}  g.fa\n")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_pretrain_needs_no_more_after_it(mirror: tuple[Path, str]) -> None:
    folder, url = mirror
    result = call("data", "fetch", "g", "--url", DEAD, "--url", f"{url}/g.fa", "--json", "r.json")
    assert result.code == 0, result.err
    path = Path(os.environ["FINDNA_CACHE"], "genomes", "g.fa")
    assert result.out == f"{path}\n"
    assert path.read_bytes() == (folder / "g.fa").read_bytes()
    assert f"fetched from {url}/g.fa: 2 contigs, 6,000 bases; md5:" in result.err
    report = json.loads(Path("r.json").read_text())
    assert (report["path"], report["n_bases"], report["is_new"]) == (str(path), 6000, True)
    flags = ["--preset", "tiny", "--batch-size", 2, "-t", 1, "--precision", "fp32", "--n-reports", 1, "--n-windows", 9]
    assert call("pretrain", *flags, "--steps", 1, "-o", "run").code == 0
    config = json.loads(Path("run/config.json").read_text())
    assert list(config["training"]["sources"]["files"]) == [str(path)]


def test_what_is_there_needs_no_network(mirror: tuple[Path, str]) -> None:
    folder, _ = mirror
    assert call("data", "fetch", "g", "--from", folder, "-q").err == ""
    again = call("data", "fetch", "g", "--url", DEAD)
    assert again.code == 0
    assert again.err.startswith("cached: 2 contigs, 6,000 bases; sha256:")


def test_a_wrong_checksum_is_an_error_and_leaves_no_genome(mirror: tuple[Path, str]) -> None:
    folder, url = mirror
    (folder / "g.fa").write_text((folder / "g.fa").read_text().replace("A", "C", 1))
    result = call("data", "fetch", "g", "--url", f"{url}/g.fa")
    assert (result.code, result.out) == (1, "")
    assert "findna: g.fa could not be fetched\n" in result.err
    assert "its content is not md5:" in result.err
    assert not list(Path(os.environ["FINDNA_CACHE"], "genomes").iterdir())


@pytest.mark.parametrize(
    ("flags", "code", "text"),
    [
        (["g/h"], 2, "is not a genome name"),
        (["g", "--url", "ftp://x/g.fa"], 2, "must begin with https://"),
        (["g", "--url", "https://x/g.txt"], 2, "the name of a genome ends in"),
        (["g", "--from", "nowhere"], 1, "the folder has no g.2bit"),
        (["g", "--from", ".", "--url", DEAD], 2, "give URLs or a folder, not both"),
        (["g", "--url", DEAD, "--checksum", "md5:1"], 2, "must be md5: and 32"),
        ([], 2, "Missing argument"),
    ],
)
def test_bad_flags(flags: list[str], code: int, text: str) -> None:
    result = call("data", "fetch", *flags)
    assert result.code == code
    assert text in result.err
