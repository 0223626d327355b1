"""Each mutation of `mutate.py` still changes the code that it names; `mutate.py` itself runs the tests."""

from faults.mutate import MUTATIONS, ROOT


def test_each_mutation_changes_one_place() -> None:
    found = {name: (ROOT / one.path).read_text().count(one.old) for name, one in MUTATIONS.items()}
    assert {name: n for name, n in found.items() if n != 1} == {}
