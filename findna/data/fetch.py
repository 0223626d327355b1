"""Downloads genomes to the cache directory: resumed, checked, from the first mirror that works."""

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from findna.data.download import DIGITS, HEX, OnBytes, from_first
from findna.errors import ConfigError, GenomeError, InputError
from findna.io.cache import cache_dir
from findna.io.files import sha256, write_atomic, writing
from findna.io.genome import GENOME_ENDINGS, Genome
from findna.io.locks import locked
from findna.io.structured import read_json

MIRRORS = (
    "https://hgdownload.soe.ucsc.edu/goldenPath/{name}/bigZips/{name}.2bit",
    "https://hgdownload2.soe.ucsc.edu/goldenPath/{name}/bigZips/{name}.2bit",
    "https://hgdownload-euro.soe.ucsc.edu/goldenPath/{name}/bigZips/{name}.2bit",
)
"""The URLs of an assembly at UCSC, in the order in which they are tried."""

CHECKSUMS = {
    "hg38": "md5:dcc3ea27079aa6dc3f9deccd7275e0f8",
    "hg19": "md5:bcdbfbe9da62f19bee88b74dabef8cd3",
    "mm10": "md5:fcfcc276799031793a513e2e9c07adad",
}
"""Checksums of UCSC's .2bit files. For other assemblies, they are read from the md5sum.txt beside the file."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Fetched(NamedTuple):
    """A genome in the cache directory.

    Args:
        path: The file.
        url: Its source, or "" if not known.
        checksum: The checksum that it matched, as "md5:..." or "sha256:..."; "" if it was not checked.
        sha256: Its own.
        n_bytes: Its size.
        n_bases: Bases of the genome.
        n_contigs: Contigs of the genome.
        is_new: Whether it was downloaded now.
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
    """Put a genome into the cache directory, where `findna pretrain` finds it. A cached genome is not fetched again.

    An interrupted download resumes in the next attempt, from the next mirror or in the next call. A file gets its name
    when its checksum matches: the given one, else the one that findna knows, else the published one.

    Args:
        name: Its name; without `urls` and `folder`, UCSC's name of an assembly, such as hg38.
        urls: Sources instead of UCSC, tried in turn.
        folder: A folder with NAME.2bit or NAME.fa, from which to copy it.
        checksum: "md5:..." or "sha256:...".
        force: Download it even if it is cached.
        on_bytes: Called with the number of bytes fetched and the total (0: not known).

    Raises:
        ConfigError: The name or the checksum is not valid.
        MissingExtraError: pooch is not installed.
        InputError: No mirror has it, or what they have is something else.
        OutputError: It cannot be written, or another process is fetching it.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a genome name, such as hg38; for a file of your own, give url=URL or folder=FOLDER"
        )
    if checksum:
        checksum = _checked(checksum)
    places = _places(name, urls, folder)
    target = cache_dir() / "genomes" / (name + _ending(places[0]))
    ours = CHECKSUMS.get(name, "") if target.suffix == ".2bit" and not urls else ""
    known = checksum or ("" if folder else ours)
    if target.exists() and not force:
        return _found(target, known)
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f".{target.name}.lock")
    with locked(lock, what=target):
        try:
            url, checksum = from_first(places, target, known, on_bytes, fallback=ours)
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
        raise InputError(f"the folder has no {name}.2bit, {name}.fa or {name}.fa.gz", path=folder)
    return [found[0].resolve().as_uri()]


def _ending(url: str) -> str:
    path = unquote(urlsplit(url).path)
    for ending in GENOME_ENDINGS:
        if path.endswith(ending):
            return ending
    raise ConfigError(f"{url}: the name of a genome ends in {', '.join(GENOME_ENDINGS)}")


def _checked(checksum: str) -> str:
    kind, _, digits = checksum.lower().partition(":")
    if len(digits) != HEX.get(kind) or not DIGITS.issuperset(digits):
        raise ConfigError(f"checksum={checksum}: must be md5: and 32, or sha256: and 64 hexadecimal digits")
    return f"{kind}:{digits}"


def _found(target: Path, checksum: str) -> Fetched:
    """The file in the cache directory, compared with its stored checksum."""
    own = sha256(target)
    record: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        found = read_json(_record_path(target))
        record = found if isinstance(found, dict) else {}
    expected = checksum or (f"sha256:{record['sha256']}" if record.get("sha256") else "")
    if expected and expected != f"sha256:{own}" and expected != _checksum_of(target, expected):
        raise InputError(
            f"its checksum is not {expected}: damaged or changed; force=True downloads it again", path=target
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
