"""The suite itself: what is collected must not depend on when it is collected."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COLLECT = [sys.executable, "-m", "pytest", "--collect-only", "-n", "0", "-p", "no:cacheprovider", "tests/unit"]


@pytest.mark.slow  # xdist compares the ids of its workers in every run
def test_a_later_collection_has_the_same_ids(request: pytest.FixtureRequest) -> None:
    """Workers of xdist each collect the tests, and stop where their ids differ."""
    found = subprocess.run(COLLECT, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    later = [line for line in found if line.startswith("tests/unit/")]
    own = [item.nodeid for item in request.session.items if item.nodeid.startswith("tests/unit/")]
    if not own:
        pytest.skip("this run collected no unit tests to compare with")
    assert set(own) <= set(later)
