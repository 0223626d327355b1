"""How the command starts: at once, with help and version, and with exit code 2 for what it does not know."""

import subprocess
import sys

from command import call, spawn

import findna

PAGES = [
    "",
    "embed",
    "pretrain",
    "model",
    "model list",
    "model info",
    "model verify",
    "model convert",
    "view",
    "doctor",
]

HELP = """
import sys
from findna_cli.app import main
for page in sys.argv[1].split(","):
    sys.argv = ["findna", *page.split(), "--help"]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (page, end.code)
    print("=" * 9)
heavy = {"torch", "numpy", "h5py", "pysam", "pyfaidx", "Bio", "safetensors", "anndata"}
print("loaded:", sorted(heavy & set(sys.modules)))
"""


def test_no_help_page_loads_a_heavy_library() -> None:
    done = subprocess.run([sys.executable, "-c", HELP, ",".join(PAGES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *pages, last = done.stdout.split("=" * 9 + "\n")
    assert last == "loaded: []\n"
    assert len(pages) == len(PAGES)
    for name, page in zip(PAGES, pages, strict=True):
        assert f"Usage: findna {name}".rstrip() in page
        assert "--help" in page


def test_help_is_shown_without_docstrings() -> None:
    command = [sys.executable, "-OO", "-m", "findna_cli", "pretrain", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--learning-rate" in done.stdout


def test_the_version_is_that_of_the_package() -> None:
    result = spawn("--version")
    assert result == (0, f"findna {findna.__version__}\n", "")


def test_nothing_at_all_shows_the_help_and_is_a_mistake() -> None:
    result = call()
    assert result.code == 2
    assert "pretrain" in result.out + result.err


def test_what_is_not_known_is_exit_2() -> None:
    for args, message in {
        ("embd",): "No such command 'embd'",
        ("embed",): "Missing argument",
        ("model", "lst"): "No such command 'lst'",
        ("view", "a.h5", "--rows", "-1"): "'--rows'",
        ("--nope",): "No such option",
    }.items():
        result = call(*args)
        assert result.code == 2, args
        assert message in result.err
        assert "--help`" in result.err
