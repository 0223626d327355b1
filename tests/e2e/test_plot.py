"""`findna plot`: figures, the page in a real browser, and what is refused."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command import call, embedded, fasta, left_behind

Write = Callable[..., Path]
N = 60


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory, model: Path, bases: dict[str, str]) -> Path:
    """An embedding file of sixty sequences, one of them with a hostile name, and labels of fifty of them."""
    folder = tmp_path_factory.mktemp("plot")
    names = [f"s{k}" for k in range(N)]
    names[1] = "<img/src=x/onerror=document.title='hacked'></script>"
    labels = [f"{name}\t{'even' if k % 2 == 0 else 'odd'}\n" for k, name in enumerate(names[:50])]
    texts = {name: bases["chr1"][k * 30 : k * 30 + 40] for k, name in enumerate(names)}
    (folder / "in.fa").write_text(fasta(texts))
    (folder / "labels.tsv").write_text("".join(labels))
    embedded(folder / "in.fa", "-m", model, "-o", folder / "v.h5")
    return folder


@pytest.fixture
def vectors(embedding: Path) -> Path:
    """A copy of that file and its labels in the test's own directory."""
    shutil.copytree(embedding, ".", dirs_exist_ok=True)
    return Path("v.h5")


def data_of(page: Path) -> Any:
    return json.loads(re.search(r"const DATA = (.+);\n", page.read_text())[1])  # type: ignore[index]


def test_a_file_becomes_a_figure_and_a_page(vectors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = call("plot", vectors, "--labels", "labels.tsv", "-o", "map.svg", "--html", "map.html")
    made = "map.svg, map.html: 60 of 60 sequences, coloured by label; 10 without a label\n"
    assert (result.code, result.err) == (0, made)
    assert "even" not in Path("map.svg").read_text()[:50]
    assert Path("map.svg").read_text().startswith("<?xml")
    data = data_of(Path("map.html"))
    (label,) = (column for column in data["columns"] if column["name"] == "label")
    assert label["classes"] == ["even", "odd", "no label"]
    assert [label["codes"].count(k) for k in range(3)] == [25, 25, 10]
    assert len(data["x"]) == len(data["y"]) == N
    before = Path("map.svg").stat()
    again = call("plot", vectors, "--labels", "labels.tsv", "-o", "map.svg", "--html", "map.html")
    assert (again.code, again.err) == (0, "map.svg, map.html: complete; nothing to do\n")
    assert Path("map.svg").stat().st_mtime_ns == before.st_mtime_ns
    other = call("plot", vectors, "-o", "map.svg")
    assert other.code == 1
    assert "exists already, made with other inputs or settings (--color" in other.err
    Path("map.html").write_text("mine findna-map:bWluZQ==")
    with monkeypatch.context() as patch:  # an existing file is refused before the work
        patch.setattr("findna.commands.view.make_map", None)
        refused = call("plot", vectors, "--labels", "labels.tsv", "-o", "map.svg", "--html", "map.html")
    assert (refused.code, refused.err) == (
        1,
        "findna: map.html: exists already; choose another name, or --force replaces it\n",
    )


def test_a_file_that_was_made_again_is_named(vectors: Path, model: Path) -> None:
    flags = ("-o", "map.png", "--labels")
    assert call("plot", vectors, *flags, "labels.tsv").code == 0
    shutil.copy(vectors, "copy.h5")
    assert "nothing to do" in call("plot", "copy.h5", *flags, "labels.tsv").err
    Path("labels.tsv").write_text("s0\todd\n")
    assert "settings (the file labels.tsv has changed)" in call("plot", vectors, *flags, "labels.tsv").err
    Path("labels.tsv").rename("l.tsv")
    assert 'settings (--labels: "l.tsv" now, "labels.tsv" before)' in call("plot", vectors, *flags, "l.tsv").err
    assert call("plot", vectors, "-o", "map.png", "--force").code == 0
    Path("again.fa").write_text(fasta({f"s{k}": "ACGTTGCA" * (k + 3) for k in range(4)}))
    embedded("again.fa", "-m", model, "-o", vectors, "--force")
    again = call("plot", vectors, "-o", "map.png")
    assert (again.code, "settings (the file v.h5 has changed)" in again.err) == (1, True), again.err
    vectors.rename("w.h5")
    other = call("plot", "w.h5", "-o", "map.png")
    assert 'settings (file: "w.h5" now, "v.h5" before)' in other.err


def test_png_and_pdf_and_a_sample_by_default_name(vectors: Path, model: Path) -> None:
    assert call("plot", vectors, "--max-points", 10, "--color", "length").err == (
        "v.png: 10 of 60 sequences, coloured by length\n"
    )
    assert Path("v.png").read_bytes()[:4] == b"\x89PNG"
    Path("far/below").mkdir(parents=True)
    for name in ("first", "second"):
        Path(f"far/below/{name}.fa").write_text(f">{name}\nACGTTGCA\n>{name}2\nAACC\n")
    assert call("embed", "far/below/first.fa", "far/below/second.fa", "-m", model, "-o", "two.h5").code == 0
    assert call("plot", "two.h5", "--color", "source", "-o", "two.svg").code == 0
    assert "<!-- second.fa (2) -->" in Path("two.svg").read_text()  # without the folder of all files
    Path("states.tsv").write_text("first\tpromoter/active\nsecond\tpromoter/inactive\n")
    assert call("plot", "two.h5", "--labels", "states.tsv", "-o", "states.svg").code == 0
    assert "<!-- promoter/inactive (1) -->" in Path("states.svg").read_text()
    assert call("plot", vectors, "-o", "v.pdf", "--method", "tsne", "--max-points", 20, "-q").err == ""
    assert Path("v.pdf").read_bytes()[:4] == b"%PDF"
    again = call("plot", vectors, "-o", "v.pdf", "--method", "tsne", "--max-points", 20)
    assert (again.code, again.err) == (0, "v.pdf: complete; nothing to do\n")


@pytest.mark.parametrize(
    ("flags", "said", "code"),
    [
        (("--color", "colour"), "no such column; there are id, name", 2),
        (("--color", "chrom"), "--color chrom: the column is empty", 2),
        (("-o", "map.jpg"), "a figure is one of .png, .svg, .pdf", 2),
        (("--html", "map.png"), "a page is .html", 2),
        (("--method", "umap"), "--method must be one of 'pca', 'tsne', not 'umap'", 2),
        (("--labels", "absent.tsv"), "absent.tsv", 1),
        (("--labels", "regions.bed"), "this is a BED file, not a table of labels; --color name takes the names", 1),
    ],
)
def test_a_wrong_flag_writes_nothing(vectors: Path, flags: tuple[str, ...], said: str, code: int) -> None:
    Path("regions.bed").write_text("chr1\t1\t5\nchr1\t6\t9\n")
    Path("v.png").touch()  # does not hide the fault
    before = left_behind()
    result = call("plot", vectors, *flags)
    assert (result.code, said in result.err) == (code, True), result.err
    assert left_behind() == before


@pytest.fixture
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    api = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium is installed")
    with api.sync_playwright() as tool:
        started = tool.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


def test_the_page_works_in_a_browser_without_network(vectors: Path, browser: Any) -> None:
    assert call("plot", vectors, "--labels", "labels.tsv", "--html", "map.html", "--title", "A <b>map</b>").code == 0
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    problems: list[str] = []
    requests: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    page.on("request", lambda request: requests.append(request.url))
    page.goto(Path("map.html").resolve().as_uri())
    assert page.title() == "A <b>map</b>"
    assert page.inner_text("#title") == "A <b>map</b>"
    assert page.inner_text("#count") == "60 sequences"
    assert "even (25)" in page.inner_text("#legend")
    assert page.locator("tbody tr").count() == 50
    # Point at a dot: its details are shown.
    x, y = page.evaluate("place(7)")
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + x, box["y"] + y)
    at = f"{{clientX: {box['x'] + x}, clientY: {box['y'] + y}}}"
    shown = page.evaluate(f"text(DATA.columns[0], nearest({at}))")
    assert page.inner_text("#tip b") == shown
    assert "label: " in page.inner_text("#tip")
    # Search, sort, hide a class.
    page.fill("#search", "s1")
    assert page.inner_text("#count") == "10 of 60 sequences"  # s10 to s19
    page.fill("#search", "")
    page.locator("th", has_text="row").click()
    page.locator("th", has_text="row").click()
    assert page.locator("tbody tr").first.inner_text().startswith("s59")
    page.locator("#legend label", has_text="odd").locator("input").uncheck()
    assert page.inner_text("#count") == "35 of 60 sequences"
    page.select_option("#color", label="length")
    assert page.locator("#scale").count() == 1
    page.locator("tbody tr").nth(2).click()
    assert page.locator("tr.on").count() == 1
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    width = page.evaluate("view.w")
    page.mouse.wheel(0, -300)
    page.wait_for_function(f"view.w < {width}")
    page.click("#reset")
    assert page.evaluate("view.w") == pytest.approx(width)
    assert page.evaluate("document.querySelectorAll('img').length") == 0  # the hostile name is text
    assert problems == []
    assert [url for url in requests if not url.startswith("file:")] == []
