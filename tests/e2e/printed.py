"""The commands of a page, run as a shell would, and the output that the page prints below them."""

import contextlib
import io
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pysam
import pytest
from command import Result, call


class Block(NamedTuple):
    """Commands that follow each other on a page, and the lines of output that it prints below them, if any."""

    commands: list[str]
    printed: list[str]


_PARTS = re.compile(r"(?ms)^```(?P<kind>\w*)\n(?P<fenced>.*?)^```|(?P<indented>(?:^ {4}[^\n]*\n)+)")


def blocks(page: str) -> list[Block]:
    """The blocks of commands of a page: indented, or in a fence of `sh`. Their output is in a fence of `text`."""
    found: list[Block] = []
    for part in _PARTS.finditer(page):
        if part["indented"] or part["kind"] == "sh":
            lines = (part["indented"] or part["fenced"]).replace("\\\n", " ").splitlines()
            lines = [re.split(r"\s+#", line)[0].strip() for line in lines]
            found.append(Block([one for line in lines for one in line.split(" && ") if one], []))
        elif part["kind"] == "text":
            found[-1].printed.extend(part["fenced"].splitlines())
    return found


def run(command: str, *flags: object) -> Result:
    """Run a command; findna, Python and bcftools run in this process, which has loaded torch already.

    Args:
        command: A line of a page.
        flags: Further flags of findna.
    """
    done = Result(0, "", "")
    for part in command.split(" | "):
        words = [str(path) for word in shlex.split(part) for path in (sorted(Path().glob(word)) or [word])]
        if words[0] == "findna":
            done = call(*words[1:], *flags, stdin=done.out.encode())
        elif words[0] == "python":
            done = Result(0, _python(words[1:]), "")
        elif words[0] == "bcftools":
            done = Result(0, str(getattr(pysam.bcftools, words[1])(*words[2:])), "")
        else:
            shell = subprocess.run(["bash", "-c", part], input=done.out, capture_output=True, text=True, check=False)
            done = Result(shell.returncode, shell.stdout, shell.stderr)
        assert done.code == 0, f"{command}\n{done.err}"
    return done


def _python(words: list[str]) -> str:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(sys, "argv", words)
        runpy.run_path(words[0], run_name="__main__")
    return out.getvalue()


def assert_printed(found: str, printed: list[str]) -> None:
    """The printed lines are lines of the output, in their order.

    Fractions may differ by 5 %, or 0.02 (0.01 below 0.1); counts below 1,000 by 5 %, or 3. Seconds and the precision,
    which depend on the machine, may differ.
    """
    lines: Iterator[str] = iter(found.splitlines())
    for line in printed:
        assert any(_agree(other, line) for other in lines), f"not in the output: {line}\n{found[:2000]}"


def _agree(found: str, printed: str) -> bool:
    words = [re.sub(r"\b\d+ s\b|\b(?:bf16|fp32)\b", "-", text).split() for text in (found, printed)]
    return len(words[0]) == len(words[1]) and all(map(_close, *words))


def _close(found: str, printed: str) -> bool:
    try:
        a, b = (float(word.rstrip(",;")) for word in (found, printed))
    except ValueError:
        return found == printed
    if "." not in printed:
        return a == b or (b < 1000 and abs(a - b) <= max(3, 0.05 * b))
    return abs(a - b) <= (0.01 if abs(b) < 0.1 else max(0.02, 0.05 * abs(b)))
