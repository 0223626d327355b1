"""docs/first-steps.ipynb runs from top to bottom, and its cells give what they show."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from command import call

pytest.importorskip("sklearn")
ROOT = Path(__file__).resolve().parents[2]
CELLS = json.loads((ROOT / "docs/first-steps.ipynb").read_text(encoding="utf-8"))["cells"]


@pytest.mark.usefixtures("undrawn")
def test_the_cells_run_and_their_arrays_have_the_shapes_that_are_shown() -> None:
    Path("docs").symlink_to(ROOT / "docs")
    names: dict[str, Any] = {}
    for cell in CELLS:
        source = "".join(cell["source"])
        if source.startswith("!findna "):
            result = call(*shlex.split(source)[1:], "--threads", 1)
            assert result.code == 0, result.err
        elif cell["cell_type"] == "code":
            exec(source, names)
            last = source.splitlines()[-1]
            if last.partition("  #")[0].endswith(".shape"):
                assert repr(eval(last, names)) == "".join(cell["outputs"][0]["data"]["text/plain"])
    assert names["scores"].shape == (2,)
    assert (names["p"].shape, (names["surprise"] > 0).all()) == ((100, 4), True)
    assert names["y"].classes == ("other", "promoter")
    assert names["y"].probabilities.sum(1) == pytest.approx(1, abs=1e-5)
