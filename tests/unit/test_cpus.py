"""CPUs that a process may use."""

from pathlib import Path

import pytest

from findna.cpus import cgroup_quota


@pytest.mark.parametrize(("text", "n_cpus"), [("150000 100000", 2), ("400000 100000", 4), ("max 100000", None)])
@pytest.mark.parametrize("group", ["", "jobs/17"])
def test_the_quota_of_a_control_group_limits_the_cpus(
    tmp_path: Path, text: str, n_cpus: int | None, group: str
) -> None:
    (tmp_path / group).mkdir(parents=True, exist_ok=True)
    (tmp_path / group / "cpu.max").write_text(f"{text}\n")
    own = tmp_path / "own"
    own.write_text(f"0::/{group}\n")
    assert cgroup_quota(tmp_path, own) == n_cpus


def test_the_quota_of_an_old_control_group_counts_too(tmp_path: Path) -> None:
    folder = tmp_path / "cpu" / "slurm"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("250000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "own").write_text("4:cpu,cpuacct:/slurm\n")
    assert cgroup_quota(tmp_path, tmp_path / "own") == 3
    (folder / "cpu.cfs_quota_us").write_text("-1\n")
    assert cgroup_quota(tmp_path, tmp_path / "own") is None
    assert cgroup_quota(tmp_path / "absent", tmp_path / "absent") is None
