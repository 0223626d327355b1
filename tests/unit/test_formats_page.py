"""The reading examples of docs/formats.md run."""

import re
from pathlib import Path

import pytest
from outputs import write_all

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
EXAMPLES = [
    code
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    if "peaks." in code
]


@pytest.mark.parametrize("code", EXAMPLES)
def test_a_reading_example_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in ("h5", "tsv", "parquet", "npy"):
        (tmp_path / suffix).mkdir()
        write_all(tmp_path / suffix / f"peaks.{suffix}", output_format=suffix, full=suffix == "h5")
        for path in (tmp_path / suffix).iterdir():
            path.rename(tmp_path / path.name)
    monkeypatch.chdir(tmp_path)
    exec(code, {})


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 6
