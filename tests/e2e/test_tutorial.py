"""The commands of docs/tutorial.md run word for word, in their order, and print what the page shows."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import Result
from printed import Block, assert_printed, blocks, run

pytestmark = pytest.mark.early
ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/tutorial.md").read_text()
BLOCKS = blocks(PAGE)
ALL_WEIGHTS = [block for block in BLOCKS if any("--epochs" in command for command in block.commands)]


@contextlib.contextmanager
def following(folder: Path, some: list[str]) -> Iterator[dict[str, Result]]:
    """What each of these commands of the page printed, in a folder in which somebody follows it."""
    (folder / "docs").symlink_to(ROOT / "docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("FINDNA_CACHE", str(folder / "cache"))
        yield {
            command: run(command, *(["--threads", 1] if re.search("findna (finetune|classify)", command) else []))
            for command in some
        }


def commands(some: list[Block]) -> list[str]:
    return [command for block in some for command in block.commands if not command.startswith("pip ")]


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Result]]]:
    """The folder in which somebody followed the page but for the training of all weights; how each command ended."""
    folder = tmp_path_factory.mktemp("tutorial")
    with following(folder, commands([block for block in BLOCKS if block not in ALL_WEIGHTS])) as results:
        yield folder, results


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Result]]:
    """The commands of the page before its first training."""
    first = next(i for i, command in enumerate(commands(BLOCKS)) if command.startswith("findna finetune"))
    with following(tmp_path_factory.mktemp("begun"), commands(BLOCKS)[:first]) as results:
        yield results


def rows(path: Path) -> list[dict[str, str]]:
    lines = [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("#")]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def assert_blocks(some: list[Block], results: dict[str, Result]) -> None:
    for block in some:
        ended = [results[command] for command in block.commands]
        assert_printed("".join(one.err + one.out for one in ended), block.printed)


@pytest.mark.slow
def test_every_command_of_the_page_prints_what_it_shows(followed: tuple[Path, dict[str, Result]]) -> None:
    _, results = followed
    assert len(results) >= 15
    assert_blocks([block for block in BLOCKS if block.printed and block not in ALL_WEIGHTS], results)


def test_the_audit_says_what_the_page_says(begun: dict[str, Result]) -> None:
    first = [block for block in BLOCKS if block.printed and set(block.commands) <= begun.keys()]
    assert len(first) == 2
    assert_blocks(first, begun)
    audits = [result.out for command, result in begun.items() if command.startswith("findna data audit")]
    assert audits[1].splitlines()[-1].split("\t")[4] == "10"


@pytest.mark.slow
def test_the_figures_are_drawn(followed: tuple[Path, dict[str, Result]]) -> None:
    folder, _ = followed
    for name in ("confusion", "roc", "pr", "calibration"):
        assert (folder / f"runs/repeats/plots/test.{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_training_all_weights_prints_what_the_page_shows(tmp_path: Path) -> None:
    assert len(ALL_WEIGHTS) == 1
    with following(tmp_path, commands(ALL_WEIGHTS)) as results:
        assert_blocks(ALL_WEIGHTS, results)


@pytest.mark.slow
def test_the_predictions_are_those_of_the_page(followed: tuple[Path, dict[str, Result]]) -> None:
    folder, _ = followed
    regions = rows(folder / "regions.predictions.tsv")
    assert [row["label"] for row in regions[:1]] == ["unique"]
    assert len(regions) == 11
    track = [line.split("\t") for line in (folder / "repeats.bedgraph").read_text().splitlines()]
    assert len(track) == 200
    assert all(int(end) - int(start) == 200 and 0 <= float(value) <= 1 for _, start, end, value in track)
    assert float(track[1][3]) > 0.9
    assert [row["label"] for row in rows(folder / "sars-cov-2.predictions.tsv")] == ["Alpha", "Delta", "Gamma"]


@pytest.mark.slow
def test_what_is_sure_is_right_more_often(followed: tuple[Path, dict[str, Result]], monkeypatch: Any) -> None:
    """The example in Python reads sure.tsv, of which the abstained rows have the label `unknown`."""
    folder, _ = followed
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    (example,) = re.findall(r"```python\n(.+?)```", PAGE, re.DOTALL)
    exec(example, names)
    every = [(row["label"], Path(row["source"]).stem) for row in rows(folder / "test.tsv")]
    assert len(every) == len(names["table"]) == 337
    assert 100 < len(names["sure"]) < 300
    assert names["right"] > sum(label == true for label, true in every) / len(every)
