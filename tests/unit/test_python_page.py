"""The examples of docs/python.md run, and give what the page says."""

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pandas")
pytest.importorskip("sklearn")

ROOT = Path(__file__).parents[2]
CODE = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the examples have defined after they ran from top to bottom."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "docs").symlink_to(ROOT / "docs")
    found: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for code in CODE:
            exec(code, found)
    return found


def test_sequences_become_a_matrix(names: dict[str, Any]) -> None:
    assert names["x"].shape == names["both"].shape == (2, names["x"].shape[1])
    assert names["points"].shape == (2, 2)


def test_regions_become_a_table(names: dict[str, Any]) -> None:
    assert names["e"].x.shape[0] == 11
    assert names["e"].obs["id"][0] == "chr20:10000846-10002407(.)"
    assert names["table"].shape == (11, 5)
    assert names["again"].obs["start"].tolist() == names["e"].obs["start"][:2].tolist()
    assert names["one"].obs["start"].tolist() == [10_000_846]
    assert (len(names["codes"]), names["n_iupac"]) == (10, 0)


def test_a_file_is_written_and_read(names: dict[str, Any]) -> None:
    assert (names["report"]["n_rows"], names["report"]["n_skipped"]) == (11, 0)
    assert (len(names["first"]), len(names["last"])) == (5, 2)


def test_a_pipeline_is_cross_validated(names: dict[str, Any]) -> None:
    assert set(names["labels"]) == {"promoter", "other"}
    assert names["scores"].shape == (2,)
    assert names["scores"] == pytest.approx([0.5, 0.5], abs=0.5)  # 25 sequences are too few for more


def test_bases_have_states_and_probabilities(names: dict[str, Any]) -> None:
    assert len(names["h"]) == 14
    assert names["p"].shape == (14, 4)
    assert (names["surprise"] > 0).all()


def test_a_task_gives_labels(names: dict[str, Any]) -> None:
    assert names["y"].classes == ("other", "promoter")
    assert names["y"].probabilities.sum(1) == pytest.approx([1, 1], abs=1e-5)


def test_an_error_names_the_sequence(names: dict[str, Any]) -> None:
    assert names["message"].startswith("sequence 1: 'L' at base 3")
