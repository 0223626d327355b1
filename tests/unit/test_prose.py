"""Pages, docstrings and messages are in plain English: no pattern of tests/prose.toml, no long sentence in a page."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RULES = tomllib.loads((ROOT / "tests/prose.toml").read_text(encoding="utf-8"))["rule"]
MAX_WORDS = 30
PACKAGES = ("findna", "findna_cli")
MODULES = sorted(path for folder in (*PACKAGES, "tests", "docs/tools") for path in (ROOT / folder).rglob("*.py"))
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "docs/models/findna-small.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
CODE = re.compile(r"```.+?```|^(?:    [^\n]*\n)+|<!--.+?-->", re.DOTALL | re.MULTILINE)
GENERATED = re.compile(r"<!-- (\w+) -->.+?<!-- /\1 -->", re.DOTALL)
SENTENCE_END = re.compile(r"(?<!e\.g\.)(?<!i\.e\.)(?<=[.?!])[)*\"”]*\s+")


def prose(text: str) -> Iterator[str]:
    """The paragraphs, list items and table cells of a page, an inline piece of code as one word."""
    text = re.sub(r"(?m)^(\s*[-*] .*(?:\n {2,}\S.*)*)", r"\n\1\n", GENERATED.sub("\n", text))
    text = CODE.sub("\n\n", re.sub(r"(?m)^ {2,4}(?=\S)(?<=\n  )", "", text))
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]+`", "CODE", text))
    for block in re.split(r"\n\s*\n", re.sub(r"(?m)^(#|\|)", r"\n\1", text)):
        for part in block.split("|") if block.lstrip().startswith("|") else [block]:
            if words := " ".join(part.split()):
                yield words


def findings(text: str) -> Iterator[str]:
    """The places in a page that break a rule."""
    for block in prose(text):
        for rule in RULES:
            for match in re.finditer(rule["pattern"], block, re.IGNORECASE):
                yield f"'{match[0]}' ({rule['instead']}): ...{block[max(0, match.start() - 40) : match.end() + 40]}..."
        for sentence in SENTENCE_END.split(block):
            n_words = sum(any(map(str.isalnum, word)) for word in sentence.split())
            if n_words > MAX_WORDS:
                yield f"{n_words} words: {sentence}"


def described(source: str, *, with_messages: bool) -> Iterator[str]:
    """Docstrings, comments and messages of a module, without doctests and pieces of code."""
    texts = re.findall(r"(?m)(?:^|\s)#.*", source)
    for node in ast.walk(ast.parse(source)):
        if with_messages and isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            texts.append(ast.get_docstring(node) or "")
    for text in texts:
        text = re.sub(r">>>.*?(\n\s*\n|$)", "", text, flags=re.DOTALL)
        yield " ".join(re.sub(r"`[^`]+`", "CODE", text).split())


def test_docstrings_and_messages_are_in_plain_english() -> None:
    found = []
    for path in MODULES:
        is_ours = path.relative_to(ROOT).parts[0] in PACKAGES
        for text in described(path.read_text(encoding="utf-8"), with_messages=is_ours):
            for rule in RULES:
                for match in re.finditer(rule["pattern"], text, re.IGNORECASE):
                    place = text[max(0, match.start() - 40) : match.end() + 40]
                    found.append(f"{path.relative_to(ROOT)}: '{match[0]}' ({rule['instead']}): ...{place}...")
    assert not found, "\n".join(found)


def test_a_module_begins_with_a_noun() -> None:
    found = [
        path for path in MODULES if re.match(r'"""(What|Which|Where|How|Who|When) ', path.read_text(encoding="utf-8"))
    ]
    assert not found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_in_plain_english(page: Path) -> None:
    found = list(findings(page.read_text(encoding="utf-8")))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "The file is no BED file.",
        "One row a record.",
        "An index that is not there.",
        "| x | A run goes on |",
        f"A{' b' * 31}.",
    ],
)
def test_what_is_not_plain_is_found(text: str) -> None:
    assert list(findings(text))


@pytest.mark.parametrize(
    "text",
    [
        "There is no norm. One row per record.",
        "    findna x goes on\n",
        f"`a{' b' * 31}`",
        f"{'a ' * 20}.\n\n- {'b ' * 20}\n- {'c ' * 20}",
    ],
)
def test_plain_text_and_code_are_not(text: str) -> None:
    assert not list(findings(text))
