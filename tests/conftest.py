"""Small inputs made by code, shared by all tests."""

import contextlib
import os
from pathlib import Path

import pytest

with contextlib.suppress(ImportError):  # tests/gpu runs where there is no hypothesis
    from hypothesis import settings

    settings.register_profile("findna", deadline=None)  # a busy machine must not fail a test
    settings.load_profile("findna")

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command sets it, before torch is loaded
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores already

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside a developer's checkout; the test is skipped without it."""
    if not SHARED.is_dir():
        pytest.skip("the shared data is not here")
    return SHARED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that it does not run alone in the end."""
    items.sort(key=lambda item: item.get_closest_marker("early") is None)
