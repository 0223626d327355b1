"""The corpus of the fuzzer is replayed, with a few changes drawn afresh from a fixed seed."""

import importlib
import random
from pathlib import Path
from types import ModuleType

import pytest

FUZZ = Path(__file__).parent / "fuzz"
CASES = sorted(path.relative_to(FUZZ / "corpus").as_posix() for path in (FUZZ / "corpus").glob("*/*"))


@pytest.fixture(scope="module")
def parsers() -> ModuleType:
    """The harness, which lies outside the packages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FUZZ)
        return importlib.import_module("parsers")


def test_every_parser_has_a_corpus(parsers: ModuleType) -> None:
    assert {case.partition("/")[0] for case in CASES} == set(parsers.PARSERS)


@pytest.mark.parametrize("case", CASES)
def test_a_corpus_file_is_read_or_refused(case: str, parsers: ModuleType) -> None:
    name = case.partition("/")[0]
    content = (FUZZ / "corpus" / case).read_bytes()
    parsers.run(name, content)
    draw = random.Random(case)
    for _ in range(20):
        changed = bytearray(content)
        for _ in range(draw.randrange(1, 4)):
            place = draw.randrange(len(changed) + 1)
            changed[place : place + draw.randrange(3)] = draw.choice(
                (b"\xff", b"\n", b"\t", b"0", b">", b"\x00", b"9999")
            )
        parsers.run(name, bytes(changed))
