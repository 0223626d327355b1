"""The pages of the shipped teacher agree with its JSON files; docs/tools/ship.py on pages and logs."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from findna.models.folders import DEFAULT, SHIPPED
from findna.train.log import read_log

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def ship() -> Iterator[ModuleType]:
    """`docs/tools/ship.py` as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS / "tools"))
        import ship

        yield ship


def between(page: Path, name: str) -> str:
    return page.read_text().partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- /{name} -->")[0]


def test_every_page_of_the_teacher_is_what_its_json_files_say(ship: ModuleType) -> None:
    pages, folder = ship.pages, DOCS / "models" / DEFAULT
    config = json.loads((SHIPPED / DEFAULT / "config.json").read_text())
    remade = "run `python docs/tools/ship.py ... --only pages`"
    assert (SHIPPED / DEFAULT / "CARD.md").read_text() == pages.card(config, folder), remade
    assert between(DOCS / "model.md", "teacher") == pages.describe(config, folder).strip(), remade
    assert between(DOCS / "benchmark.md", "gue") == pages.counts(DOCS / "results/gue"), remade
    report = (DOCS / "models" / f"{DEFAULT}.md").read_text()
    assert report == pages.report(config, folder, DOCS / "results/gue"), remade


def test_the_figures_are_of_the_weights_that_ship() -> None:
    sha256 = json.loads((SHIPPED / DEFAULT / "config.json").read_text())["sha256"]
    folder = DOCS / "models" / DEFAULT
    assert json.loads((folder / "teacher.json").read_text())["model"]["sha256"] == sha256
    for path in (DOCS / "results/gue").glob("*.probe.*.json"):
        assert json.loads(path.read_text())["fingerprint"]["model_sha256"] == sha256, path
    runs = json.loads((folder / "validation/study.json").read_text())["runs"].values()
    assert [run["model"] for run in runs if run["variant"] == DEFAULT] == [sha256]


def test_a_part_of_a_page_is_replaced_and_no_more(ship: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- x -->\nold\n<!-- /x -->\nafter\n<!-- y -->\nkept\n<!-- /y -->\n")
    ship.pages.put(page, "x", "new\nlines\n")
    assert page.read_text() == ("before\n<!-- x -->\nnew\nlines\n<!-- /x -->\nafter\n<!-- y -->\nkept\n<!-- /y -->\n")


def test_windows_are_described_by_their_manifest(ship: ModuleType, tmp_path: Path) -> None:
    how = {"sequence": "said by hand"}
    assert ship.pages.sequence(tmp_path, how) == "- said by hand"
    manifest = {
        "settings": {"exclude_kmers": 20, "max_shared": 0.95},
        "holdout": ["chr8", "chr20"],
        "sources": [
            {"name": "human", "path": "data/hg38.fa.gz", "n_bases_cut": 4000},
            {"name": "mouse", "path": "data/mm10.2bit", "n_bases_cut": 321},
        ],
        "cut": [{"path": "brca1.bed"}],
        "exclude": [{"path": "gue/tf/0/test.csv"}] * 3,
        "windows": {
            "n_drawn": 5000,
            "n_left_out": {"n": 0, "excluded": 1234, "repeated": 5, "overlapping": 67},
            "by_source": {"human": 900, "mouse": 100},
        },
    }
    (tmp_path / "windows.json").write_text(json.dumps(manifest))
    text = ship.pages.sequence(tmp_path, how)
    for part in (
        "900 of hg38.fa.gz, 100 of mm10.2bit",
        "Held out: chr8, chr20",
        "20 or more 31-mers with 3 files",
        "1,234",
        "regions of 1 files were cut out (4,321 bases)",
    ):
        assert part in text
    (tmp_path / "windows.json").write_text(json.dumps(manifest | {"exclude": []}))
    assert "1,234" not in ship.pages.sequence(tmp_path, how)


def test_a_page_is_followed_command_by_command(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Text\n\n    echo one > a.txt\n    cat \\\n        a.txt\n\n```text\n    no\n```\n\n    findna --version\n"
    )
    done = subprocess.run(
        [sys.executable, DOCS / "tools/follow.py", page, tmp_path / "f"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["echo one > a.txt", "cat a.txt", "findna --version"]
    transcript = (tmp_path / "f/transcript.txt").read_text()
    assert "    cat a.txt\n\none\n" in transcript
    assert "findna 0." in transcript
    page.write_text("    false\n    touch never\n")
    failed = subprocess.run(
        [sys.executable, DOCS / "tools/follow.py", page, tmp_path / "g"], capture_output=True, check=False
    )
    assert failed.returncode != 0
    assert not (tmp_path / "g/never").exists()


def test_a_log_is_that_of_the_run_that_ships(ship: ModuleType, tmp_path: Path) -> None:
    run, folder = tmp_path / "run", tmp_path / "models"
    run.mkdir()
    folder.mkdir()
    (run / "log.csv").write_text("step,valid_loss\n1,1.5\n")
    ship.take_log(run, folder)
    kept = (folder / "log.csv").read_text()
    assert kept == "step,valid_loss\n1,1.5\n"
    ship.take_log(SHIPPED / DEFAULT, folder)  # the same model once more
    assert (folder / "log.csv").read_text() == kept
    (run / "log.csv").unlink()
    ship.take_log(run, folder)
    assert not (folder / "log.csv").exists()


def test_a_thinned_log_keeps_every_held_out_figure(ship: ModuleType, tmp_path: Path) -> None:
    lines = [f"{step},{'1.5' if step % 1000 == 7 else ''}\n" for step in range(1, 5001)]
    (tmp_path / "log.csv").write_text("step,valid_loss\n" + "".join(lines))
    ship.thin_log(tmp_path / "log.csv", tmp_path / "thin.csv")
    rows = read_log(tmp_path / "thin.csv")
    assert [row["step"] for row in rows if row["valid_loss"] == 1.5] == [7, 1007, 2007, 3007, 4007]
    assert len(rows) == pytest.approx(ship.MOST_ROWS, abs=10)
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)
