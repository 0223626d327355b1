"""Rules of the code that its readers rely on."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import findna

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


PUBLIC = re.compile(
    r"findna|findna\.commands(\.\w+)?|findna\.(config|recipes|sizes|limits|errors|settings|phases|counts)|findna\.\w+\.options"
)
"""What the command line may import of the library: names of `findna`, commands, settings and texts."""


def test_the_command_line_imports_only_what_is_public() -> None:
    found = []
    for path in (ROOT / "findna_cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [
                f"{path.name}:{node.lineno}: {name}"
                for name in names
                if name.partition(".")[0] == "findna" and not PUBLIC.fullmatch(name)
            ]
            if isinstance(node, ast.ImportFrom) and node.module == "findna":
                names = [one.name for one in node.names if one.name not in (*findna.__all__, "commands")]
                found += [f"{path.name}:{node.lineno}: findna.{name}" for name in names]
    assert found == []


LONG_FILES, LONG_FUNCTIONS = 7, 6
"""How many files have more than 300 lines, and functions more than 40 without their docstring; to become fewer."""


def test_files_and_functions_do_not_become_longer() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in FILES}
    files = [path.name for path, text in texts.items() if text.count("\n") > 300]
    functions = []
    for text in texts.values():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                body = node.body[ast.get_docstring(node) is not None :]
                if body and (body[-1].end_lineno or 0) - body[0].lineno >= 40:
                    functions.append(node.name)
    assert (len(files) <= LONG_FILES, len(functions) <= LONG_FUNCTIONS) == (True, True), (sorted(files), functions)


def test_the_table_of_faults_names_tests_that_exist() -> None:
    text = (ROOT / "tests/faults/README.md").read_text(encoding="utf-8")
    found = re.findall(r"`([a-z]+/\w+\.py)(?:::(\w+))?`", text)
    assert len(found) > 50
    for path, name in found:
        content = (ROOT / "tests" / path).read_text(encoding="utf-8")
        assert re.search(rf"def {name}\(" if name else r"def test_", content), (path, name)


def test_a_public_function_that_takes_a_path_takes_text() -> None:
    """As the whole annotation of a parameter: `Path` alone would end with an AttributeError."""
    found = []
    for path in (ROOT / "findna" / "commands").glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_") or path.name == "reports.py":
                continue
            for argument in (*node.args.args, *node.args.kwonlyargs):
                kind = ast.unparse(argument.annotation) if argument.annotation else ""
                if re.search(r"\bPath\b", kind) and "str | Path" not in kind:
                    found.append(f"{path.name}: {node.name}({argument.arg}: {kind})")
    assert found == []
