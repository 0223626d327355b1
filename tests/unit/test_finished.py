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
    with pytest.raises(OutputError, match=r'made with other inputs or settings \(pool: "max" now, "mean" before\)'):
        require_same_run(tmp_path, {"params": PARAMS}, {"params": OTHERS | {"pool": "max"}})


def test_an_output_that_may_lack_records_is_not_that_of_a_strict_run(tmp_path):
    require_same_run(tmp_path, {"params": SCORES}, {"params": SKIPPING})
    with pytest.raises(
        OutputError, match=r'made with other inputs or settings \(on_error: "fail" now, "skip" before\)'
    ):
        require_same_run(tmp_path, {"params": SKIPPING}, {"params": SCORES})


def test_a_part_has_the_settings_of_the_other_parts(tmp_path):
    shard = {"shard": {"number": 1, "n": 2}}
    with pytest.raises(OutputError, match=r"made with other inputs or settings \(batch_bases: 999 now, 16384 before\)"):
        require_same_run(tmp_path, {"params": PARAMS, **shard}, {"params": OTHERS, **shard})
    with pytest.raises(
        OutputError, match=r'made with other inputs or settings \(on_error: "skip" now, "fail" before\)'
    ):
        require_same_run(tmp_path, {"params": SCORES, **shard}, {"params": SKIPPING, **shard})
    with pytest.raises(OutputError, match=r"made with other inputs or settings \(shard: not given now, 1/2 before\)"):
        require_same_run(tmp_path, {"params": PARAMS, **shard}, {"params": OTHERS})
