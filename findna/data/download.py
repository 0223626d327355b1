"""A file from the first of its mirrors: resumed, tried again, checked."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from findna.errors import InputError, system_reason
from findna.extras import need
from findna.io.files import raise_output_error, require_space

_LISTS = (("md5sum.txt", "md5"), ("md5sums.txt", "md5"), ("SHA256SUMS", "sha256"))

HEX = {"md5": 32, "sha256": 64}

DIGITS = frozenset("0123456789abcdef")

_CHUNK = 1 << 16

_ATTEMPTS = 3

_TIMEOUT = 30.0

WAIT = 2.0
"""Seconds before all mirrors are tried again; twice as long before the third time."""

OnBytes = Callable[[int, int], None]


class _Failure(Exception):
    """The reason why one source failed."""


class Missing(_Failure):
    """There is no such file."""


class _Stale(_Failure):
    """The partial file is longer than the file."""


def from_first(places: Sequence[str], target: Path, known: str, on_bytes: OnBytes, *, fallback: str) -> tuple[str, str]:
    """(source, checksum) of the first source that provided the file."""
    pooch = _pooch()
    partial = target.with_name(f".{target.name}.partial")
    failures: dict[str, str] = {}
    waiting = list(places)
    for attempt in range(_ATTEMPTS):
        time.sleep(WAIT * attempt if waiting else 0)
        for place in list(waiting):
            had = partial.stat().st_size if partial.exists() else 0
            try:
                expected = known or published_checksum(place, fallback)
                retrieve(pooch, place, target, expected, partial, on_bytes)
                return place, expected
            except Missing as failure:
                failures[place] = str(failure)
                waiting.remove(place)
            except _Stale as failure:
                failures[place] = str(failure)
                partial.unlink()
            except _Failure as failure:
                failures[place] = str(failure)
            except ValueError:  # pooch's: another checksum; the file is gone
                failures[place] = f"its content is not {expected}"
                if not had:  # the whole file is from there
                    waiting.remove(place)
            except OSError as error:
                raise_output_error(error, target)
    lines = [f"{target.name} could not be fetched"]
    lines += [f"  {place}: {failure}" for place, failure in failures.items()]
    if partial.exists() and partial.stat().st_size:
        lines.append(f"  {partial.stat().st_size:,} bytes of it are kept: the next try resumes there")
    if any(str(place).startswith("http") for place in failures):
        lines.append("  folder=FOLDER copies a file that you have; url=URL downloads from another server")
    raise InputError("\n".join(lines))


def _pooch() -> Any:
    pooch = need("pooch", extra="data", purpose="findna data fetch")
    pooch.get_logger().setLevel("ERROR")
    return pooch


def retrieve(pooch: Any, url: str, target: Path, checksum: str, partial: Path, on_bytes: OnBytes) -> None:
    """Download to the partial file; pooch checks it and gives it its name.

    Raises:
        ValueError: It has another checksum.
    """

    def download(url: str, output: str, _: object) -> None:
        _download(url, partial, on_bytes)
        partial.replace(output)

    pooch.retrieve(url, known_hash=checksum, fname=target.name, path=target.parent, downloader=download)


def _download(url: str, partial: Path, on_bytes: OnBytes) -> None:
    """Download a file from where the partial file ends."""
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
    """(first byte, size of the file or 0, remaining bytes); from byte 0 if the server does not support ranges."""
    if urlsplit(url).scheme == "file":
        path = Path(unquote(urlsplit(url).path))
        try:
            file = path.open("rb")
        except FileNotFoundError as error:
            raise Missing("there is no such file") from error
        except OSError as error:
            raise _Failure(system_reason(error)) from error
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
            if response.status_code == 416:  # no bytes after the partial file: it is complete, or another file
                total = _number(response.headers.get("Content-Range", "").rpartition("/")[2])
                if total != start:
                    raise _Stale("the file on the server is shorter than the partial file")
                yield start, start, iter(())
                return
            if response.status_code in (404, 410):
                raise Missing(f"there is no such file (HTTP {response.status_code})")
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
            raise _Failure("the answer is a part of the file, without its position")
        return int(match[1]), _number(match[2])
    return 0, _number(headers.get("Content-Length", ""))


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def published_checksum(url: str, fallback: str) -> str:
    """The checksum published beside a file (in a list such as md5sum.txt, or in its own file), else ours.

    Raises:
        _Failure: There is none.
    """
    base, _, name = url.rpartition("/")
    name = unquote(name)
    beside = [(f"{base}/{entry}", kind) for entry, kind in _LISTS] + [(f"{url}.{kind}", kind) for kind in HEX]
    for place, kind in beside:
        try:
            with _open(place, 0) as (_, _, chunks):
                text = b"".join(chunks).decode(errors="replace")
        except Missing:
            continue
        for line in text.splitlines():
            digits, _, file = line.strip().partition(" ")
            is_own = file.rpartition("/")[2].strip(" *") == name or place.startswith(url)
            if is_own and len(digits) == HEX[kind] and DIGITS.issuperset(digits.lower()):
                return f"{kind}:{digits.lower()}"
    if fallback:
        return fallback
    raise Missing("no published checksum found (md5sum.txt); give one as checksum=sha256:DIGITS")
