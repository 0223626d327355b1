"""The rules of the house that a reader of the code relies on."""

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = [path for name in ("findna", "findna_cli") for path in (ROOT / name).rglob("*.py")]

FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
OF_OTHERS = ("io/score_files.py",)
"""A file that calls bcftools with its flags."""


def test_no_class_name_stands_for_two_things() -> None:
    places = defaultdict(list)
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(ROOT)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_no_text_of_the_library_names_a_flag() -> None:
    found = []
    for path in (ROOT / "findna").rglob("*.py"):
        if str(path.relative_to(ROOT / "findna")) in OF_OTHERS:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        own = {id(word.value) for call in ast.walk(tree) if isinstance(call, ast.Call) for word in call.keywords
               if word.arg == "flag"}  # fmt: skip
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in own
            if is_text and (flag := FLAG.search(node.value)):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {flag[0]}")
    assert found == []
