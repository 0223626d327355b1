import gzip
from pathlib import Path

import pytest

from findna.io.meter import Meter
from findna.io.options import InputOptions
from findna.io.records import read_records


@pytest.mark.parametrize("is_gzip", [False, True])
def test_the_number_of_records_is_estimated_from_the_bytes_that_are_read(tmp_path: Path, is_gzip: bool) -> None:
    text = "".join(f">{i}\n{'ACGT' * 250}\n" for i in range(600)).encode()
    path = tmp_path / "in.fa"
    path.write_bytes(gzip.compress(text) if is_gzip else text)
    meter = Meter([str(path)])
    seen = [meter.n_records for _ in read_records([str(path)], InputOptions(), meter=meter)]
    assert seen[300] == pytest.approx(600, rel=0.5 if is_gzip else 0.02)
    assert meter.n_records == 600


def test_of_stdin_the_number_is_not_known_before_the_end(tmp_path: Path) -> None:
    assert Meter(["-"]).n_records is None
