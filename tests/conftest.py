"""Small inputs made by code, shared by all tests."""

import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

if TYPE_CHECKING:
    from forks import Forks

with contextlib.suppress(ImportError):  # tests/gpu runs where there is no hypothesis
    from hypothesis import settings

    settings.register_profile("findna", deadline=None)  # a busy machine must not fail a test
    settings.load_profile("findna")

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command sets it, before torch is loaded
sys.dont_write_bytecode = False  # else each process compiles all modules anew, a quarter of the time of all tests
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores already

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in a background job of a script; tests send it
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside a developer's checkout; the test is skipped without it."""
    if not SHARED.is_dir():
        pytest.skip("the shared data is not here")
    return SHARED


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this test run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def forks(run_folder: Path) -> "Iterator[Forks]":
    """What starts the command in a process of its own without the seconds that importing torch takes."""
    from forks import COMMANDS, Forks

    with Forks(run_folder / "forks", COMMANDS) as forks:
        yield forks


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not drawn, which takes longer than a small training; `test_plots.py` draws them."""
    figure = pytest.importorskip("matplotlib.figure")

    def savefig(self: object, file: "str | Path | BinaryIO | io.StringIO", **options: Any) -> None:
        if isinstance(file, io.StringIO):
            file.write("<svg></svg>")
            return
        with Path(file).open("wb") if isinstance(file, str | Path) else contextlib.nullcontext(file) as opened:
            opened.write(b"\x89PNG Software\0" + str((options["metadata"] or {}).get("Software")).encode())

    monkeypatch.setattr(figure.Figure, "savefig", savefig)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that it does not run alone in the end."""
    items.sort(key=lambda item: item.get_closest_marker("early") is None)
