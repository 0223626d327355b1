import gzip
from pathlib import Path

import pysam
import pytest

from findna.errors import FindnaError
from findna.io.meter import Meter
from findna.io.options import InputOptions
from findna.io.records import read_records
from findna.phases import Estimate


def test_there_is_an_estimate_before_the_first_record_and_an_error_stays_at_its_place(tmp_path: Path) -> None:
    path = tmp_path / "in.fa"
    path.write_text("".join(f">{i}\n{'ACGT' * 250}\n" for i in range(600)) + ">0\nACGT\n")
    meter = Meter([str(path)])
    records = meter.sampled(read_records([str(path)], InputOptions(), meter=meter))
    assert isinstance(meter.n_records, Estimate)
    assert meter.n_records == pytest.approx(601, rel=0.02)
    assert [str(getattr(record, "id", "error")) for record in records] == [*map(str, range(600)), "error"]
    path.write_bytes(gzip.compress(path.read_bytes()[:40_000])[:-9])  # 40 records, then a damaged end
    records = (meter := Meter([str(path)])).sampled(read_records([str(path)], InputOptions(), meter=meter))
    assert next(records).id == "0"
    with pytest.raises(FindnaError, match="truncated"):
        list(records)


def test_reads_of_a_bam_file_are_estimated_from_part_of_a_block(tmp_path: Path) -> None:
    path = tmp_path / "in.bam"
    with pysam.AlignmentFile(str(path), "wb", header={"HD": {"VN": "1.6"}}) as file:
        for number in range(3000):
            read = pysam.AlignedSegment(file.header)
            read.query_name, read.query_sequence, read.flag = f"r{number}", "ACGTACGT" * 10, 4
            file.write(read)
    meter = Meter([str(path)])
    meter.sampled(read_records([str(path)], InputOptions(), meter=meter))
    assert meter.n_records == pytest.approx(3000, rel=0.3)


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
