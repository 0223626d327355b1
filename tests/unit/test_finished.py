import pytest

from findna.errors import OutputError
from findna.runs.finished import decisive, require_same_run

PARAMS = {"pool": "mean", "batch_bases": 16_384, "on_error": "fail"}
OTHERS = {"pool": "mean", "batch_bases": 999, "on_error": "skip"}


def test_batches_and_invalid_records_do_not_decide_rows(tmp_path):
    require_same_run(tmp_path, {"params": PARAMS}, {"params": OTHERS})
    assert decisive({"params": PARAMS, "provenance": {}}, is_part=False) == {"params": {"pool": "mean"}}
    with pytest.raises(OutputError, match=r'of another run: pool was "mean", is "max"$'):
        require_same_run(tmp_path, {"params": PARAMS}, {"params": OTHERS | {"pool": "max"}})


def test_a_part_has_the_batches_of_the_other_parts(tmp_path):
    shard = {"shard": {"number": 1, "n": 2}}
    differs = r'of another run: batch_bases was 16384, is 999; on_error was "fail", is "skip"$'
    with pytest.raises(OutputError, match=differs):
        require_same_run(tmp_path, {"params": PARAMS, **shard}, {"params": OTHERS, **shard})
    with pytest.raises(OutputError, match=r"of another run: shard was 1/2, is not given$"):
        require_same_run(tmp_path, {"params": PARAMS, **shard}, {"params": OTHERS})
