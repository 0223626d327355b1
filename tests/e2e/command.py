"""The installed command, in this process or in one of its own, and vectors computed without the package."""

import contextlib
import functools
import io
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import h5py
import numpy as np
import typer.main
from forks import Forks, Process
from numpy.typing import NDArray

COMMAND = [sys.executable, "-m", "findna_cli"]
FORKS: list[Forks] = []
"""What `fork` forks from; the last one counts."""


_get_command = functools.cache(typer.main.get_command)


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def fork(*args: object, job: str = "command", module: str = "forks", **options: Any) -> Process:
    """The command in a process of its own that starts at once; `often` commits after every cell."""
    return FORKS[-1].start(f"{module}:{job}", *args, **options)


def spawn(*args: object, stdin: bytes = b"", **options: Any) -> Result:
    """Run the command in a process of its own to its end."""
    done = subprocess.run([*COMMAND, *map(str, args)], input=stdin, capture_output=True, check=False, **options)
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def call(*args: object, stdin: bytes = b"") -> Result:
    """Run the command in this process: the same `main`, without the seconds that importing torch takes."""
    from findna_cli.app import main

    out, err = io.TextIOWrapper(io.BytesIO(), write_through=True), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["findna", *map(str, args)]),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin))),
        mock.patch("signal.signal"),
        mock.patch("typer.main.get_command", _get_command),  # made once, not for each call
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
            code: Any = 0
        except SystemExit as end:
            code = end.code
    out.flush()
    return Result(code or 0, out.buffer.getvalue().decode(), err.getvalue())  # type: ignore[attr-defined]


def embedded(*args: object, stdin: bytes = b"") -> Result:
    """`findna embed` in this process on one thread in float32; it must succeed."""
    result = call("embed", *args, "--precision", "fp32", "--threads", 1, stdin=stdin)
    assert result.code == 0, result.err
    return result


class Table(NamedTuple):
    """What an HDF5 output holds."""

    x: NDArray[Any]
    obs: dict[str, list[Any]]
    skipped: dict[str, list[Any]]
    meta: dict[str, Any]
    cls: NDArray[Any] | None


def read(path: Path) -> Table:
    """An output by h5py alone; its account must add up and no row may be zeros."""
    with h5py.File(path) as file:
        group = file["uns/findna"]
        x = file["X"][()]
        obs, skipped = _frame(file["obs"]), _frame(group["skipped"])
        meta = {name: json.loads(item.asstr()[()]) for name, item in group.items() if name in _JSON}
        assert group["complete"][()]
        assert group["n_expected"][()] == len(x) + len(skipped["id"])
        cls = file["obsm/X_cls"][()] if "X_cls" in file["obsm"] else None
    assert np.isfinite(x).all()
    assert (np.abs(x).max(axis=1, initial=0) > 0).all()
    assert len(set(obs["id"])) == len(x)
    return Table(x, obs, skipped, meta, cls)


_JSON = ("provenance", "model", "genome", "inputs", "params")


def _frame(group: h5py.Group) -> dict[str, list[Any]]:
    columns = {}
    for name, item in group.items():
        if isinstance(item, h5py.Group):
            categories = item["categories"].asstr()[()]
            columns[name] = [str(categories[code]) for code in item["codes"][()]]
        else:
            columns[name] = (item.asstr() if item.dtype == object else item)[()].tolist()
    return columns


def reverse_complement(bases: str) -> str:
    """The other strand, read in its own direction."""
    return bases.upper().translate(str.maketrans("ACGTN", "TGCAN"))[::-1]


class Oracle:
    """A model folder's network, position by position in numpy from its equations; nothing of the package is used."""

    def __init__(self, folder: Path) -> None:
        size = json.loads((folder / "config.json").read_text())["model"]
        self.n_tokens, self.width, self.n_layers = size["n_class_tokens"], size["track_width"], size["n_layers"]
        self.window = size["max_len"] - self.n_tokens
        self.layout = size.get("shift_layout", "published")
        self.n_blocks = math.ceil(math.log2(size["max_len"]))
        self.weights = _read_bf16(folder / "model.safetensors")

    def shift(self, track: int) -> int:
        """How far a track rotates: powers of two, or the distances of the two-sided layout."""
        if self.layout == "two-sided" and track:
            return (1, 2, 4, 8, 32)[(track - 1) // 2] * (1 if track % 2 else -1)
        return 2 ** (track - 1) if track else 0

    def hidden(self, bases: str, layer: int = -1) -> tuple[NDArray[Any], NDArray[Any]]:
        """States of the bases and of the class tokens, (n, C) and (K, C)."""
        w = self.weights
        one_hot = np.zeros((len(bases) + self.n_tokens, 5))
        for position, base in enumerate(bases.upper()):
            one_hot[position, "ACGTN".index(base if base in "ACGT" else "N")] = 1
        h = one_hot @ w["stem.weight"].T + w["stem.bias"]
        n, n_channels = h.shape
        n_layers = self.n_layers if layer == -1 else layer
        for block in range(n_layers * self.n_blocks):
            name = f"blocks.{block}."
            inner = h @ w[f"{name}fc1.weight"].T + w[f"{name}fc1.bias"]
            inner = 0.5 * inner * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
            z = inner @ w[f"{name}fc2.weight"].T + w[f"{name}fc2.bias"]
            for channel in range(n_channels):
                track = channel // self.width
                shift = self.shift(track)
                for t in range(n):
                    h[t, channel] += z[(t + shift) % n, channel]
        return h[: len(bases)], h[len(bases) :]

    def vector(self, bases: str, *, pool: str = "mean", layer: int = -1, stride: int = 0) -> NDArray[Any]:
        """The vector of a sequence; a window's weight is the number of bases that no window before it has."""
        states, tokens, owned = [], [], []
        for start, end, own in self.windows(len(bases), stride or self.window):
            h, c = self.hidden(bases[start:end], layer)
            states.append(h[own - start :])
            tokens.append(c)
            owned.append(end - own)
        every = np.concatenate(states)
        assert len(every) == len(bases)
        if pool == "tokens":
            return every
        if pool == "cls":
            return np.average(tokens, axis=0, weights=owned)
        return every.max(0) if pool == "max" else every.mean(0)

    def windows(self, length: int, stride: int) -> list[tuple[int, int, int]]:
        """(start, end, first own base) of each window, the last flush with the end."""
        found = []
        start = own = 0
        while True:
            if start + self.window >= length:
                start = max(0, length - self.window)
                return [*found, (start, length, own)]
            found.append((start, start + self.window, own))
            own = start + self.window
            start += stride


def _read_bf16(path: Path) -> dict[str, NDArray[Any]]:
    content = path.read_bytes()
    n_header = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n_header])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        assert entry["dtype"] == "BF16"
        begin, end = entry["data_offsets"]
        high = np.frombuffer(content[8 + n_header + begin : 8 + n_header + end], "<u2").astype("<u4") << 16
        tensors[name] = high.view("<f4").astype(np.float64).reshape(entry["shape"])
    return tensors


def assert_close(found: NDArray[Any], expected: NDArray[Any], *, tolerance: float = 1e-5) -> None:
    """Equal to within a share of the vectors' scale."""
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def n_lines(path: Path) -> int:
    """Whole lines of a file, 0 where there is none."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def left_behind(stem: str = "out") -> list[str]:
    """Names in the working directory that a run for `stem` left there, hidden ones included."""
    return sorted(path.name for path in Path().iterdir() if path.name.startswith((stem, ".")))


def fasta(texts: dict[str, str], width: int = 60) -> str:
    """FASTA text of contigs."""
    lines = []
    for name, text in texts.items():
        lines += [f">{name} a contig", *(text[i : i + width] for i in range(0, len(text), width))]
    return "\n".join(lines) + "\n"
