"""Small inputs made by code, shared by all tests."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command sets it, before torch is loaded

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside a developer's checkout; the test is skipped without it."""
    if not SHARED.is_dir():
        pytest.skip("the shared data is not here")
    return SHARED
