import pytest

from findna.errors import OutputError
from findna.runs.finished import decisive, require_same_run

PARAMS = {"pool": "mean", "batch_bases": 16_384}  # of vectors
SCORES = {"scores": ["llr"], "on_error": "fail"}
OTHERS, SKIPPING = PARAMS | {"batch_bases": 999}, SCORES | {"on_error": "skip"}


def test_batches_and_invalid_records_are_no_matter_of_a_resume(tmp_path):
    require_same_run(tmp_path, {"params": PARAMS}, {"params": OTHERS})
    assert decisive({"params": PARAMS, "provenance": {}}) == {"params": {"pool": "mean"}}
    assert decisive({"params": SCORES}) == {"params": {"scores": ["llr"]}}
    with pytest.raises(OutputError, match=r'of another run: pool was "mean", is "max"$'):
        require_same_run(tmp_path, {"params": PARAMS}, {"params": OTHERS | {"pool": "max"}})


def test_an_output_that_may_lack_records_is_not_that_of_a_strict_run(tmp_path):
    require_same_run(tmp_path, {"params": SCORES}, {"params": SKIPPING})
    with pytest.raises(OutputError, match=r'of another run: on_error was "skip", is "fail"$'):
        require_same_run(tmp_path, {"params": SKIPPING}, {"params": SCORES})


def test_a_part_has_the_settings_of_the_other_parts(tmp_path):
    shard = {"shard": {"number": 1, "n": 2}}
    with pytest.raises(OutputError, match=r"of another run: batch_bases was 16384, is 999$"):
        require_same_run(tmp_path, {"params": PARAMS, **shard}, {"params": OTHERS, **shard})
    with pytest.raises(OutputError, match=r'of another run: on_error was "fail", is "skip"$'):
        require_same_run(tmp_path, {"params": SCORES, **shard}, {"params": SKIPPING, **shard})
    with pytest.raises(OutputError, match=r"of another run: shard was 1/2, is not given$"):
        require_same_run(tmp_path, {"params": PARAMS, **shard}, {"params": OTHERS})
