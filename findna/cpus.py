"""CPUs that this process may use."""

import os
from contextlib import suppress
from pathlib import Path


def n_cpus() -> int:
    """CPUs that this process may use: its affinity and the quota of its control group; all where neither is known."""
    n_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(n_cpus, cgroup_quota() or n_cpus))


def cgroup_quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """CPUs that the control groups of this process allow, rounded up; None without a quota."""
    quotas = []
    try:
        groups = [line.split(":", 2)[2].strip("/") for line in own.read_text().splitlines() if line.count(":") >= 2]
    except OSError:
        groups = []
    for group in {parent for path in ["", *groups] for parent in [path, *map(str, Path(path).parents)]}:
        for folder in (root / group, root / "cpu" / group):
            with suppress(OSError, ValueError):
                quota, period = (folder / "cpu.max").read_text().split()
                quotas.append(-(-int(quota) // int(period)))
            with suppress(OSError, ValueError):
                quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
                quotas.append(-(-int(quota) // int(period)))
    return min((quota for quota in quotas if quota > 0), default=None)
