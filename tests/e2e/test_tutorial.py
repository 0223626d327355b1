"""The commands of docs/tutorial.md run word for word, in their order, and print what the page shows."""

import contextlib
import io
import json
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import Result, call

pytestmark = pytest.mark.early
ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/tutorial.md").read_text()


def commands() -> list[str]:
    """The indented lines of the page outside its fences, continued ones joined."""
    text = re.sub(r"```.+?```", "", PAGE, flags=re.DOTALL).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    return [" ".join(line.split()) if line.startswith("findna") else line for line in lines]


ALL_WEIGHTS = [command for command in commands() if "--epochs" in command]


def matches(word: str) -> list[str]:
    """The files that a pattern stands for, as a shell would put them."""
    return sorted(map(str, Path().glob(word))) if "*" in word else [word]


def run(command: str) -> Result:
    """As a shell would; findna and Python in this process, which has torch imported already, on one thread."""
    before, _, last = command.rpartition(" | ")
    if not last.startswith("findna "):
        return python(command) if command.startswith("python ") else shell(command)
    words = [path for word in shlex.split(last)[1:] for path in matches(word)]
    threads = ["--threads", 1] if words[0] in ("finetune", "classify") else []
    return call(*words, *threads, stdin=shell(before).out.encode() if before else b"")


def shell(command: str) -> Result:
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=300)
    return Result(done.returncode, done.stdout, done.stderr)


def python(command: str) -> Result:
    _, script, *words = shlex.split(command)
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(sys, "argv", [script, *words])
        runpy.run_path(script, run_name="__main__")
    return Result(0, out.getvalue(), "")


@contextlib.contextmanager
def following(folder: Path, some: list[str]) -> Iterator[dict[str, Result]]:
    """How each of these commands of the page ended, in a folder in which somebody follows it."""
    (folder / "docs").symlink_to(ROOT / "docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("FINDNA_CACHE", str(folder / "cache"))
        results = {}
        for command in some:
            results[command] = run(command)
            assert results[command].code == 0, f"{command}\n{results[command].err}"
        yield results


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Result]]]:
    """The folder in which somebody followed the page but for the training of all weights; how each command ended."""
    folder = tmp_path_factory.mktemp("tutorial")
    with following(folder, [command for command in commands() if command not in ALL_WEIGHTS]) as results:
        yield folder, results


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Result]]:
    """The commands of the page before its first training."""
    first = next(i for i, command in enumerate(commands()) if command.startswith("findna finetune"))
    with following(tmp_path_factory.mktemp("begun"), commands()[:first]) as results:
        yield results


def rows(path: Path) -> list[dict[str, str]]:
    lines = [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("#")]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def only(results: dict[str, Result], start: str) -> Result:
    return next(result for command, result in results.items() if command.startswith(start))


@pytest.mark.slow
def test_every_command_of_the_page_ends_well(followed: tuple[Path, dict[str, Result]]) -> None:
    _, results = followed
    assert len(results) >= 15
    assert sum(command.startswith("findna classify") for command in results) >= 4


def test_the_audit_says_what_the_page_says(begun: dict[str, Result]) -> None:
    audits = [result.out for command, result in begun.items() if command.startswith("findna data audit")]
    assert audits[0].splitlines()[-1] in PAGE
    assert audits[1].splitlines()[-1].split("\t")[4] == "10"


def assert_printed(metrics: Path, splits: tuple[str, ...]) -> None:
    """The page has a line for each split with about this AUROC."""
    figures = json.loads(metrics.read_text())
    for split in splits:
        printed = [float(x) for x in re.findall(rf"^{split}: .*auroc ([0-9.]+)$", PAGE, re.MULTILINE)]
        assert any(figures[split]["auroc"] == pytest.approx(x, abs=0.03) for x in printed)


@pytest.mark.slow
def test_the_figures_are_those_of_the_page(followed: tuple[Path, dict[str, Result]]) -> None:
    folder, _ = followed
    assert_printed(folder / "runs/repeats/metrics.json", ("valid", "test"))
    for name in ("confusion", "roc", "pr", "calibration"):
        assert (folder / f"runs/repeats/plots/test.{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_training_all_weights_gives_the_figures_of_the_page(tmp_path: Path) -> None:
    assert len(ALL_WEIGHTS) == 1
    with following(tmp_path, ALL_WEIGHTS):
        assert_printed(tmp_path / "runs/all-weights/metrics.json", ("valid",))


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
