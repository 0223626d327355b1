"""The provenance in an output: inputs, genome, machine and versions."""

import platform
import resource
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from findna import __version__, phases
from findna.io.compressed import STDIN
from findna.io.files import sha256, storable
from findna.io.genome import Genome
from findna.io.options import InputOptions

if TYPE_CHECKING:
    from findna.nn.device import Compute

LIBRARIES = ("torch", "numpy", "h5py", "pysam", "biopython", "safetensors")

_version = cache(version)


def input_facts(inputs: Sequence[str], options: InputOptions) -> list[dict[str, Any]]:
    """The identity of each input: path, and for files size and sha256.

    If only a region of a BAM or CRAM file is read, its modification time replaces the sha256.
    """
    return [{"path": text, **file_facts(text, is_whole=options.region is None)} for text in inputs]


def file_facts(text: str, *, is_whole: bool) -> dict[str, Any]:
    """Size of a file, and its sha256 or the time of its last change; {} if it is not a regular file."""
    path = Path(text)
    if text == STDIN or not path.is_file():
        return {}
    found = path.stat()
    if is_whole:
        phases.enter(f"checking {path.name}")
    return {"bytes": found.st_size} | ({"sha256": sha256(path)} if is_whole else {"modified_ns": found.st_mtime_ns})


def digests(facts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The sha256 of the inputs that have one, by path."""
    return {one["path"]: one["sha256"] for one in facts if "sha256" in one}


def genome_facts(genome: Genome | None) -> dict[str, Any]:
    """The identity of a genome; {} without one."""
    if genome is None:
        return {}
    found = genome.path.stat()
    return {
        "path": str(genome.path),
        "bytes": found.st_size,
        "modified_ns": found.st_mtime_ns,
        "n_contigs": len(genome.contigs),
        "digest": genome.digest,
    }


def versions() -> dict[str, str]:
    """The versions of findna, of Python and of the libraries."""
    own = {"findna": __version__, "python": platform.python_version()}
    return own | {name: _version(name) for name in LIBRARIES}


def machine_facts(
    compute: "Compute",
    *,
    command: str,
    started: datetime,
    kernels: Mapping[str, Any] = MappingProxyType({}),
    n_processes: int = 1,
) -> dict[str, Any]:
    """Time, machine and versions of a run.

    Args:
        compute: Where and how it ran.
        command: The command line.
        started: When it began; it ends now.
        kernels: Facts of the code that ran the blocks.
        n_processes: Number of processes that made rows.
    """
    import torch  # not needed to plan or merge a run

    device = compute.device
    return {
        "command": command,
        "versions": versions(),
        "system": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        **kernels,
        "threads": compute.threads,
        "processes": n_processes,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "started": started.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "working_directory": storable(Path.cwd()),
    }


def peak_memory_bytes() -> int:
    """Peak memory of this process; Linux counts in kB, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
