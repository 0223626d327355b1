"""Outputs that are read back: a damaged one is refused before memory is taken."""

from pathlib import Path

import pytest

from findna.errors import TableError
from findna.io.written_tables import MOST_BASES, EffectsTable

LINES = "## {}\nid\tchrom\tstart\tposition\tref\talt\teffect\n"


@pytest.mark.parametrize(
    ("position", "effect", "says"),
    [
        (MOST_BASES + 1, "0.5", "record a has position 10,000,001"),
        (2**62, "0.5", "record a has position"),
        (1, "1e39", "an effect that is not a finite number"),
        (1, "inf", "an effect that is not a finite number"),
        (1, "0.5", "record a lacks changes"),
    ],
)
def test_a_damaged_table_of_effects_is_refused(tmp_path: Path, position: int, effect: str, says: str) -> None:
    table = tmp_path / "e.tsv"
    table.write_text(f"{LINES}a\t\t\t{position}\tA\tC\t{effect}\n")
    with pytest.raises(TableError, match=says):
        EffectsTable(table)
