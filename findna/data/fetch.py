"""Genomes, from where they are published to the cache directory: resumed, checked, from the first mirror that can."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from findna.errors import ConfigError, GenomeError, InputError
from findna.extras import need
from findna.io.cache import cache_dir
from findna.io.files import locked, raise_output_error, require_space, sha256, write_atomic
from findna.io.genome import GENOME_ENDINGS, Genome
from findna.io.structured import read_json

MIRRORS = (
    "https://hgdownload.soe.ucsc.edu/goldenPath/{name}/bigZips/{name}.2bit",
    "https://hgdownload2.soe.ucsc.edu/goldenPath/{name}/bigZips/{name}.2bit",
    "https://hgdownload-euro.soe.ucsc.edu/goldenPath/{name}/bigZips/{name}.2bit",
)
"""Where UCSC keeps an assembly, in the order they are tried."""

CHECKSUMS = {
    "hg38": "md5:dcc3ea27079aa6dc3f9deccd7275e0f8",
    "hg19": "md5:bcdbfbe9da62f19bee88b74dabef8cd3",
    "mm10": "md5:fcfcc276799031793a513e2e9c07adad",
}
"""Of UCSC's .2bit files. Those of other assemblies are read from the md5sum.txt beside them."""

_LISTS = (("md5sum.txt", "md5"), ("md5sums.txt", "md5"), ("SHA256SUMS", "sha256"))
_HEX = {"md5": 32, "sha256": 64}
_DIGITS = frozenset("0123456789abcdef")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CHUNK = 1 << 16
_ATTEMPTS = 3
_TIMEOUT = 30.0
WAIT = 2.0
"""Seconds before all mirrors are tried again; twice as many before the third time."""

OnBytes = Callable[[int, int], None]


class Fetched(NamedTuple):
    """A genome in the cache directory.

    Args:
        path: The file.
        url: Where it is from, "" if that is not known.
        checksum: What it was checked against, as "md5:..." or "sha256:..."; "" if it was not.
        sha256: Its own.
        n_bytes: Its size.
        n_bases: Bases of the genome.
        n_contigs: Contigs of the genome.
        is_new: Whether it was fetched now, not found.
    """

    path: Path
    url: str
    checksum: str
    sha256: str
    n_bytes: int
    n_bases: int
    n_contigs: int
    is_new: bool


def fetch_genome(
    name: str,
    *,
    urls: Sequence[str] = (),
    folder: str | Path | None = None,
    checksum: str = "",
    force: bool = False,
    on_bytes: OnBytes = lambda done, total: None,
) -> Fetched:
    """Put a genome into the cache directory, where `findna pretrain` finds it; once there, nothing is fetched.

    An interrupted download resumes, by the next attempt, the next mirror or the next call. A file gets its name when
    its checksum is right: the one that is given, else the one that we know, else the one that is published beside it.

    Args:
        name: What to call it; without `urls` and `folder` UCSC's name of an assembly, such as hg38.
        urls: Where to get it in place of UCSC, tried in turn.
        folder: A folder to copy it from, which holds NAME.2bit or NAME.fa.
        checksum: "md5:..." or "sha256:...".
        force: Download it even if it is cached.
        on_bytes: Told how many bytes there are, and of how many (0: not known).

    Raises:
        ConfigError: The name or the checksum is none.
        MissingExtraError: pooch is not installed.
        InputError: No mirror has it, or what they have is something else.
        OutputError: It cannot be written, or another process is fetching it.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a genome name, such as hg38; give the place of a file of your own as its URL or folder"
        )
    if checksum:
        checksum = _checked(checksum)
    places = _places(name, urls, folder)
    target = cache_dir() / "genomes" / (name + _ending(places[0]))
    ours = CHECKSUMS.get(name, "") if target.suffix == ".2bit" and not urls else ""
    known = checksum or ("" if folder else ours)
    if target.exists() and not force:
        return _found(target, known)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise_output_error(error, target)
    lock = target.with_name(f".{target.name}.lock")
    with locked(lock, what=target):
        try:
            url, checksum = _from_first(places, target, known, on_bytes, fallback=ours)
        finally:
            lock.unlink()
    try:
        n_contigs, n_bases = _size_of(target)
    except GenomeError:
        target.unlink()
        raise
    record: dict[str, Any] = {
        "name": name,
        "url": url,
        "checksum": checksum,
        "sha256": sha256(target),
        "n_bytes": target.stat().st_size,
    }
    write_atomic(_record_path(target), json.dumps(record, indent=2) + "\n")
    return Fetched(target, url, checksum, record["sha256"], record["n_bytes"], n_bases, n_contigs, is_new=True)


class _Failure(Exception):
    """Why one place did not give the file."""


class _Missing(_Failure):
    """There is no such file."""


class _Stale(_Failure):
    """What was kept is longer than the file."""


def _places(name: str, urls: Sequence[str], folder: str | Path | None) -> list[str]:
    if urls and folder:
        raise ConfigError("give URLs or a folder, not both")
    if folder is None:
        for url in urls:
            if urlsplit(url).scheme not in ("http", "https", "file"):
                raise ConfigError(f"{url}: a URL must begin with https://, http:// or file://")
        return list(urls) or [mirror.format(name=name) for mirror in MIRRORS]
    found = [path for ending in GENOME_ENDINGS if (path := Path(folder) / f"{name}{ending}").is_file()]
    if not found:
        raise InputError(f"the folder holds no {name}.2bit, {name}.fa or {name}.fa.gz", path=folder)
    return [found[0].resolve().as_uri()]


def _ending(url: str) -> str:
    path = unquote(urlsplit(url).path)
    for ending in GENOME_ENDINGS:
        if path.endswith(ending):
            return ending
    raise ConfigError(f"{url}: the name of a genome ends in {', '.join(GENOME_ENDINGS)}")


def _checked(checksum: str) -> str:
    kind, _, digits = checksum.lower().partition(":")
    if len(digits) != _HEX.get(kind) or not _DIGITS.issuperset(digits):
        raise ConfigError(f"checksum={checksum}: must be md5: and 32, or sha256: and 64 hexadecimal digits")
    return f"{kind}:{digits}"


def _found(target: Path, checksum: str) -> Fetched:
    """What lies in the cache directory already, compared with what is known of it."""
    own = sha256(target)
    record: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        found = read_json(_record_path(target))
        record = found if isinstance(found, dict) else {}
    expected = checksum or (f"sha256:{record['sha256']}" if record.get("sha256") else "")
    if expected and expected != f"sha256:{own}" and expected != _checksum_of(target, expected):
        raise InputError(
            f"it has not the checksum {expected}: damaged or changed; force=True fetches it anew", path=target
        )
    n_contigs, n_bases = _size_of(target)
    url = record.get("url", "")
    return Fetched(target, url, expected, own, target.stat().st_size, n_bases, n_contigs, is_new=False)


def _size_of(target: Path) -> tuple[int, int]:
    with Genome(target) as genome:
        return len(genome.contigs), sum(genome.contigs.values())


def _record_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def _checksum_of(path: Path, like: str) -> str:
    kind = like.partition(":")[0]
    with path.open("rb") as file:
        return f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}"


def _from_first(
    places: Sequence[str], target: Path, known: str, on_bytes: OnBytes, *, fallback: str
) -> tuple[str, str]:
    """(place, checksum) of the first place that has given the file."""
    pooch = _pooch()
    partial = target.with_name(f".{target.name}.partial")
    failures: dict[str, str] = {}
    waiting = list(places)
    for attempt in range(_ATTEMPTS):
        time.sleep(WAIT * attempt if waiting else 0)
        for place in list(waiting):
            had = partial.stat().st_size if partial.exists() else 0
            try:
                expected = known or _published(place, fallback)
                _retrieve(pooch, place, target, expected, partial, on_bytes)
                return place, expected
            except _Missing as failure:
                failures[place] = str(failure)
                waiting.remove(place)
            except _Stale as failure:
                failures[place] = str(failure)
                partial.unlink()
            except _Failure as failure:
                failures[place] = str(failure)
            except ValueError:  # pooch's: another checksum; the file is gone
                failures[place] = f"what it has is not {expected}"
                if not had:  # all of it is from there
                    waiting.remove(place)
            except OSError as error:
                raise_output_error(error, target)
    lines = [f"{target.name} could not be fetched"]
    lines += [f"  {place}: {failure}" for place, failure in failures.items()]
    if partial.exists() and partial.stat().st_size:
        lines.append(f"  {partial.stat().st_size:,} bytes of it are kept: the next try resumes there")
    lines.append("  a file that you have can be copied from its folder, or fetched from its URL")
    raise InputError("\n".join(lines))


def _pooch() -> Any:
    pooch = need("pooch", extra="data", purpose="findna data fetch")
    pooch.get_logger().setLevel("ERROR")
    return pooch


def _retrieve(pooch: Any, url: str, target: Path, checksum: str, partial: Path, on_bytes: OnBytes) -> None:
    """Download to the partial file; pooch checks what came and gives it its name.

    Raises:
        ValueError: It has another checksum.
    """

    def download(url: str, output: str, _: object) -> None:
        _download(url, partial, on_bytes)
        partial.replace(output)

    pooch.retrieve(url, known_hash=checksum, fname=target.name, path=target.parent, downloader=download)


def _download(url: str, partial: Path, on_bytes: OnBytes) -> None:
    """All of a file into the partial one, from where that ends."""
    n = partial.stat().st_size if partial.exists() else 0
    with _open(url, n) as (start, total, chunks):
        n = start
        if total:
            require_space(partial.parent, total - n, hint="free some, or set FINDNA_CACHE to another place")
        with partial.open("r+b" if partial.exists() else "wb") as file:
            file.truncate(n)
            file.seek(n)
            for chunk in chunks:
                file.write(chunk)
                n += len(chunk)
                on_bytes(n, total)
        if total and n < total:
            raise _Failure(f"the connection broke after {n:,} of {total:,} bytes")


@contextmanager
def _open(url: str, start: int) -> Iterator[tuple[int, int, Iterator[bytes]]]:
    """(first byte, size of the whole file or 0, bytes from there on); from the first byte where it has no other."""
    if urlsplit(url).scheme == "file":
        path = Path(unquote(urlsplit(url).path))
        try:
            file = path.open("rb")
        except FileNotFoundError as error:
            raise _Missing("there is no such file") from error
        except OSError as error:
            raise _Failure((error.strerror or str(error)).lower()) from error
        with file:
            total = path.stat().st_size
            start = start if start <= total else 0
            file.seek(start)
            yield start, total, iter(lambda: file.read(_CHUNK), b"")
        return
    import requests

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            if response.status_code == 416:  # nothing is left from there on: whole, or another file
                total = _number(response.headers.get("Content-Range", "").rpartition("/")[2])
                if total != start:
                    raise _Stale("the file there is shorter than what was kept of it")
                yield start, start, iter(())
                return
            if response.status_code in (404, 410):
                raise _Missing(f"there is no such file (HTTP {response.status_code})")
            if not response.ok:
                raise _Failure(f"HTTP {response.status_code} {response.reason}")
            first, total = _extent(response.headers, response.status_code)
            yield first, total, response.iter_content(_CHUNK)
    except requests.Timeout as error:
        raise _Failure(f"no answer in {_TIMEOUT:g} s") from error
    except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
        raise _Failure("the connection broke") from error
    except requests.ConnectionError as error:
        raise _Failure("cannot be reached: no network, or the server is down") from error
    except requests.RequestException as error:
        raise _Failure(str(error)) from error


def _extent(headers: Any, status: int) -> tuple[int, int]:
    """(first byte, size of the whole file or 0) of an answer."""
    if status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
        if match is None:
            raise _Failure("it answers with a part of the file and does not say which")
        return int(match[1]), _number(match[2])
    return 0, _number(headers.get("Content-Length", ""))


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _published(url: str, fallback: str) -> str:
    """The checksum that is published beside a file, in a list such as md5sum.txt or in a file of its own, or else ours.

    Raises:
        _Failure: There is none.
    """
    base, _, name = url.rpartition("/")
    name = unquote(name)
    beside = [(f"{base}/{entry}", kind) for entry, kind in _LISTS] + [(f"{url}.{kind}", kind) for kind in _HEX]
    for place, kind in beside:
        try:
            with _open(place, 0) as (_, _, chunks):
                text = b"".join(chunks).decode(errors="replace")
        except _Missing:
            continue
        for line in text.splitlines():
            digits, _, file = line.strip().partition(" ")
            is_own = file.rpartition("/")[2].strip(" *") == name or place.startswith(url)
            if is_own and len(digits) == _HEX[kind] and _DIGITS.issuperset(digits.lower()):
                return f"{kind}:{digits.lower()}"
    if fallback:
        return fallback
    raise _Missing("no checksum is published beside it (md5sum.txt); give it as checksum=sha256:DIGITS")
