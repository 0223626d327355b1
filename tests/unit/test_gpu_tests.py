"""The tests of tests/gpu, on a machine that has little more than a GPU."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COLLECT = """if True:
    import sys
    absent = "hypothesis xdist safetensors typer rich pyfaidx sklearn scipy anndata triton pyarrow"
    sys.modules |= dict.fromkeys(absent.split())
    import pytest
    sys.exit(pytest.main(["-o", "addopts=", "-q", "--collect-only", "-p", "no:cacheprovider", "tests/gpu"]))
"""


def test_tests_of_a_gpu_are_collected_where_only_the_core_packages_are():
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", COLLECT]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_a_step_of_pretraining_on_a_gpu" in done.stdout
