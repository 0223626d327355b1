"""Sizes of the code of findna and findna_cli, as in docs/architecture.md: `python docs/tools/house.py`."""

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONG_FILE, LONG_FUNCTION = 300, 40


def own_imports(tree: ast.Module) -> set[str]:
    """The modules of the project that a module imports."""
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names}
    return {name for name in names if name.partition(".")[0] in ("findna", "findna_cli")}


def plain_lines(text: str, tree: ast.Module) -> int:
    """Lines of a module without its docstrings, comments, imports and blank lines."""
    apart = set[int]()
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.stmt) and (is_text or isinstance(node, ast.Import | ast.ImportFrom)):
            apart |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(text.splitlines(), start=1)
    return sum(number not in apart and bool(line.partition("#")[0].strip()) for number, line in lines)


def main() -> None:
    """Print the table."""
    texts = [path.read_text("utf-8") for name in ("findna", "findna_cli") for path in (ROOT / name).rglob("*.py")]
    trees = [ast.parse(text) for text in texts]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    bodies = [
        (node, node.body[ast.get_docstring(node) is not None :]) for node in nodes if isinstance(node, ast.FunctionDef)
    ]
    sizes = [(body[-1].end_lineno or 0) - body[0].lineno + 1 for _, body in bodies if body]
    classes = Counter(node.name for node in nodes if isinstance(node, ast.ClassDef))
    imports = [len(own_imports(tree)) for tree in trees]
    print(f"lines, with comments and docstrings: {sum(text.count(chr(10)) for text in texts):,}")
    code = sum(map(plain_lines, texts, trees))
    print(f"of these, without docstrings, comments, imports and blank lines: {code:,}")
    print(f"files of more than {LONG_FILE} lines: {sum(text.count(chr(10)) > LONG_FILE for text in texts)}")
    print(
        f"functions of more than {LONG_FUNCTION} lines, without docstring: {sum(size > LONG_FUNCTION for size in sizes)}"
    )
    print(f"modules of findna that a module imports, mean: {sum(imports) / len(imports):.1f}")
    print(f"class names defined more than once: {sum(n > 1 for n in classes.values())}")


if __name__ == "__main__":
    main()
