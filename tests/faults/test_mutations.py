"""Each mutation of `mutate.py` still changes the code that it names; `mutate.py` itself runs the tests."""

from pathlib import Path

from faults.mutate import MUTATIONS, ROOT

FAULTS = Path(__file__).with_name("README.md")


def test_each_mutation_changes_one_place() -> None:
    found = {name: (ROOT / one.path).read_text().count(one.old) for name, one in MUTATIONS.items()}
    assert {name: n for name, n in found.items() if n != 1} == {}


def test_each_fault_has_tests_and_mutations_that_exist() -> None:
    rows = [line.strip("| ").split(" | ") for line in FAULTS.read_text().splitlines() if line.startswith("| ")]
    for fault, tests, without in (row for row in rows if row[0] != "fault"):
        for test in tests.replace("`", "").split(", "):
            path, _, name = test.partition("::")
            assert not name or f"def {name}(" in (ROOT / "tests" / path).read_text(), test
            assert (ROOT / "tests" / path).is_file(), test
        assert without.startswith("none: ") or set(without.split("; ")) <= MUTATIONS.keys(), fault
