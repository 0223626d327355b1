"""Starts processes on this host by torch.distributed's launcher, and reports once why they ended."""

import json
import logging
import os
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from findna.errors import ConfigError, TrainingError
from findna.nn.device import check_gpus
from findna.train.options import ProcessOptions
from findna.train.parallel import LOST

LAUNCHED = "FINDNA_LAUNCHED"
"""Set in the processes that `launch` starts: the process that started them reports why they ended."""


def count_processes(asked: ProcessOptions, *, device: str) -> int:
    """The requested number of processes.

    Raises:
        ConfigError: The settings contradict one another or the device, or there are fewer GPUs.
    """
    gpus, processes = asked.gpus, asked.processes
    if gpus and processes:
        raise ConfigError(f"give gpus={gpus} or processes={processes}, not both")
    if (gpus and device not in ("auto", "cuda")) or (processes and device not in ("auto", "cpu")):
        what = f"gpus={gpus} needs GPUs" if gpus else f"processes={processes} is for the CPU"
        raise ConfigError(f"{what}: it contradicts device={device}")
    check_gpus(gpus)
    return gpus or processes or 1


def launch(arguments: Sequence[str], *, n_processes: int, max_restarts: int) -> int:
    """Run `findna` with these arguments in `n_processes` processes of this host; returns the exit code.

    Process 0 writes to this process's terminal. Output of the others is shown only if a traceback ended them.

    Args:
        arguments: All that follows the command's name.
        n_processes: Number of processes.
        max_restarts: Maximum number of restarts of all processes after one died.

    Raises:
        TrainingError: One of them failed; the message is that of the first.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ[LAUNCHED] = "1"
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # one host: no traffic leaves it
    is_here = Path(sys.path[0] or ".").resolve() == Path.cwd()
    command = [*([] if is_here else ["-P"]), "-m", "findna_cli", *arguments]
    with tempfile.TemporaryDirectory(prefix="findna-") as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=n_processes,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=max_restarts,
            logs_specs=DefaultLogsSpecs(folder, redirects=dict.fromkeys(range(1, n_processes), Std.ALL)),
        )
        try:
            elastic_launch(config, sys.executable)(*command)
        except ChildFailedError as error:
            return _explain(error.failures, folder)
        except SignalException as error:
            return 128 + int(error.sigval)
    return 0


def _explain(failures: Mapping[int, Any], folder: str) -> int:
    """The exit code of a command that the user must correct.

    Raises:
        TrainingError: A process failed with a message, or was killed.
    """
    causes = [failure for failure in failures.values() if LOST not in str(failure.message)]
    for failure in causes:
        if failure.error_file_data.get("findna"):  # even if the launcher ended it while it exited
            sys.stderr.write(f"findna: {failure.message}\n")
            return max(int(failure.exitcode), 1)
    died = [failure for failure in causes if failure.exitcode != -signal.SIGTERM]  # sent by the launcher
    first = min(died or causes or failures.values(), key=lambda failure: (failure.timestamp, failure.local_rank))
    if first.exitcode < 0:
        raise TrainingError(
            f"process {first.local_rank} was ended by {signal.Signals(-first.exitcode).name}; resume=True continues "
            "from the last checkpoint, and max_restarts=N restarts the processes"
        )
    if first.error_file_data.get("findna"):  # all failed because of one that left no message
        sys.stderr.write(f"findna: {first.message}\n")
        return int(first.exitcode)
    for log in sorted(Path(folder).glob(f"*/attempt_*/{first.local_rank}/stderr.log"))[-1:]:
        sys.stderr.write(log.read_text(errors="replace"))
    return int(first.exitcode)


def record_failure(text: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Store the message of an error for the process that launched this one; False if none did."""
    path = environment.get("TORCHELASTIC_ERROR_FILE")
    if LAUNCHED not in environment or not path:
        return False
    Path(path).write_text(json.dumps({"message": text, "timestamp": int(time.time()), "findna": True}))
    return True
