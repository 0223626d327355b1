"""The commands of the README run, its examples read their files, and the links of all pages lead to files."""

import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import pytest
from command import call
from printed import assert_printed, blocks, run

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FIRST = [block for block in blocks(README.partition("## Your own regions")[0]) if "findna" in str(block.commands)]


def demo_commands() -> list[str]:
    """The findna commands of the README's first sections, and further ones that embed files of the project."""
    first, _, others = README.partition("## Your own regions")
    commands = [part.strip() for line in indented(first) for part in line.split("&&")]
    commands += [line for line in indented(others) if line.startswith("findna embed") and "docs/demo" in line]
    return [command.partition(" | ")[0] for command in commands if command.startswith("findna ")]


def indented(text: str) -> list[str]:
    lines = text.replace("\\\n", " ").splitlines()
    return [line.strip().split("  #")[0] for line in lines if line.startswith("    ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the project's docs/demo, and every tenth region of its classes."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "docs/demo", folder / "docs/demo")
    for path in (folder / "docs/demo/repeats").glob("*/*.bed"):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[::10]))
    return folder


def test_the_readme_opens_with_its_two_commands() -> None:
    blocks = re.findall(r"^    (.+)$", README, re.MULTILINE)
    assert blocks[0].startswith("pip install . && findna embed docs/demo/regions.bed")
    assert blocks[1] == "pip install -e '.[dev]' && pytest"


@pytest.mark.usefixtures("undrawn")
def test_the_commands_of_the_readme_run_and_its_examples_read_what_they_wrote(
    folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = demo_commands()
    assert len(commands) >= 6
    monkeypatch.chdir(folder)
    for command in commands:
        words = [str(path) for word in shlex.split(command)[1:] for path in (sorted(Path().glob(word)) or [word])]
        small = ["--model", model, "--extend", 200] if words[0] == "finetune" else []  # the default takes a minute
        done = call(*words, *small)
        assert done.code == 0, done.err
    vectors = FIRST[1]
    assert_printed(run(vectors.commands[-1]).out, vectors.printed)
    assert Path("map.png").read_bytes()[:4] == b"\x89PNG"
    assert "unique" in Path("map.html").read_text()
    names: dict[str, object] = {}
    examples = re.findall(r"```python\n(.+?)```", README, re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        exec(example, names)
    n_regions = len((ROOT / "docs/demo/regions.bed").read_text().splitlines())
    x, ids = names["x"], names["ids"]
    assert x.shape == (n_regions, 1232)  # type: ignore[attr-defined]
    assert ids[0] == "chr20:10000846-10002407(.)"  # type: ignore[index]


@pytest.mark.slow
def test_the_printed_metrics_and_labels_are_those_of_the_shipped_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "docs/demo", tmp_path / "docs/demo")
    monkeypatch.chdir(tmp_path)
    shown = [block for block in FIRST if block.printed]
    assert len(shown) == 3
    for block in shown:
        ended = [run(command) for command in block.commands]
        assert_printed("".join(one.err + one.out for one in ended), block.printed)


def test_the_command_line_page_is_what_the_command_says() -> None:
    spec = importlib.util.spec_from_file_location("make_cli", ROOT / "docs/tools/make_cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (ROOT / "docs/cli.md").read_text()
    assert module.reference() == written, "run `python docs/tools/make_cli.py > docs/cli.md`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#?([^)#:]*)\)", page.read_text()):
        found = page.parent / target if target else page
        assert found.exists(), f"{page.name}: {target}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)
            names = [re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles]
            assert anchor in names, f"{page.name}: {target}#{anchor}"
