"""The command in processes that are forked from one that has imported torch: as installed, started in milliseconds.

A server imports what is needed once for all workers of a test run, and ends with the last of them. As a program, this
file is that server.
"""

import fcntl
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Self

HERE = Path(__file__).resolve().parent
COMMANDS = (
    *("findna_cli.app", "findna.runs.row_makers", "findna.runs.workers", "findna.runs.run", "findna.runs.merge"),
    *("findna.train.pretrain", "findna.train.finetune", "torch._dynamo", "sklearn.metrics", "matplotlib.figure"),
)
"""What the processes of the command line import."""


class Forks:
    """A server; use it as a context manager. It starts when it is first asked.

    Args:
        address: Its socket.
        modules: What it imports.
        environment: Further variables of the server and of its processes' libraries.
    """

    def __init__(self, address: Path, modules: Sequence[str], environment: Mapping[str, str] = {}) -> None:
        self.address, self._modules, self._environment = address, modules, environment
        self._held: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._held is not None:
            self._held.close()

    def start(self, job: str, *args: object, **options: Any) -> "Process":
        """Run a job, `module:function`, in a process of its own."""
        self.begin()
        return Process(self.address, job, list(map(str, args)), **options)

    def begin(self) -> None:
        """Start the server, unless another worker has."""
        if self._held is not None:
            return
        with self.address.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                self._held = _connect(self.address)
            except OSError:
                paths = [str(HERE.parent), str(HERE), str(HERE / "e2e"), os.environ.get("PYTHONPATH", "")]
                own = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
                command = [sys.executable, __file__, str(self.address), *self._modules]
                environment = {**os.environ, **own, **self._environment}
                pipe = os.pipe()  # not a file: Python remembers that its stdout has a position, and a fork gets another
                subprocess.run(command, stdin=subprocess.DEVNULL, stdout=pipe[1], env=environment, check=True)
                for end in pipe:
                    os.close(end)
                self._held = self._wait()
            self._held.sendall(b"null\n")

    def _wait(self) -> socket.socket:
        ended = time.monotonic() + 120
        while time.monotonic() < ended:
            with suppress(OSError):
                return _connect(self.address)
            time.sleep(0.05)
        raise AssertionError(f"no server at {self.address}")


class Process:
    """A process of the server; what it writes goes to files until it has ended.

    Args:
        address: Of the server.
        job: `module:function`.
        args: Of that function.
        stdin: What it reads; nothing if absent.
        stdout: Where it writes; a file that `communicate` reads if absent.
        group: Whether it has a process group of its own.
        environment: Its variables.
    """

    def __init__(
        self,
        address: Path,
        job: str,
        args: list[str],
        *,
        stdin: IO[bytes] | None = None,
        stdout: IO[bytes] | None = None,
        group: bool = False,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.returncode: int | None = None
        self._out, self._err = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115
        self._written = b"", b""
        with Path(os.devnull).open("rb") as nothing:
            streams = [(stdin or nothing).fileno(), (stdout or self._out).fileno(), self._err.fileno()]
            asked = {"job": job, "args": args, "folder": str(folder or Path.cwd()), "group": group}
            self._answers = ask(address, {**asked, "environment": dict(environment or os.environ)}, streams)
        self.pid = int(self._answers.readline())

    def poll(self) -> int | None:
        """The exit code, as subprocess gives it, once it has ended."""
        if self.returncode is None and _is_ready(self._answers):
            self.wait()
        return self.returncode

    def wait(self) -> int:
        """The exit code, when it has ended."""
        if self.returncode is None:
            self.returncode = int(self._answers.readline())
            self._answers.close()
            self._written = _content(self._out), _content(self._err)
        return self.returncode

    def communicate(self) -> tuple[bytes, bytes]:
        """What it wrote to stdout and stderr, when it has ended."""
        self.wait()
        return self._written

    def send_signal(self, number: int) -> None:
        """Send a signal to it, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)


def _content(file: IO[bytes]) -> bytes:
    with file:
        file.seek(0)
        return file.read()


def _is_ready(file: IO[bytes]) -> bool:
    """Whether something can be read at once."""
    with selectors.DefaultSelector() as selector:
        selector.register(file, selectors.EVENT_READ)
        return bool(selector.select(0))


def ask(address: Path | str, asked: dict[str, Any], streams: Sequence[int]) -> IO[bytes]:
    """Have a job run with these streams; the answers are its pid and, in the end, its exit code, a line each."""
    with _connect(address) as connection:
        connection.settimeout(400)
        socket.send_fds(connection, [json.dumps(asked).encode() + b"\n"], streams)
        return connection.makefile("rb")


def ask_as_program(address: str, *args: str) -> int:
    """Run the command line there, with the streams of this process; its exit code."""
    asked = {"job": "forks:command", "args": args, "folder": str(Path.cwd()), "group": False}
    with ask(address, {**asked, "environment": dict(os.environ)}, (0, 1, 2)) as answers:
        answers.readline()
        return int(answers.readline())


def _connect(address: Path | str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(address))
    except OSError:
        connection.close()
        raise
    return connection


def command(*args: str) -> None:
    """The command line."""
    from findna_cli.app import main

    sys.argv = ["findna", *args]
    main()


def often(*args: str) -> None:
    """The command line, with a commit after every cell of the grid, not after every second of work."""
    from findna.io.hdf5 import EmbeddingWriter

    defaults = EmbeddingWriter.__init__.__kwdefaults__
    assert defaults is not None
    defaults["every"] = 0.0
    command(*args)


class _Server:
    """Forks a process for each request; it ends when nobody holds a connection any more."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener, self._selector = listener, selectors.DefaultSelector()
        self._holders: set[socket.socket] = set()
        self._asking: dict[int, socket.socket] = {}
        self._woken, wakes = socket.socketpair()
        for end in (self._woken, wakes):
            end.setblocking(False)
        self._wakes = wakes
        signal.set_wakeup_fd(wakes.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for each in (listener, self._woken):
            self._selector.register(each, selectors.EVENT_READ)

    def run(self) -> Callable[[], object] | None:
        """Serve; returns in a forked process with its job, and in the server with None at its end."""
        while True:
            for key, _ in self._selector.select():
                place: Any = key.fileobj
                if place is self._woken:
                    place.recv(1 << 16)
                    self._reap()
                elif place is not self._listener:
                    self._selector.unregister(place)
                    self._holders.remove(place)
                    place.close()
                    if not self._holders:
                        return None
                elif (job := self._accept()) is not None:
                    return job

    def _accept(self) -> Callable[[], object] | None:
        connection, _ = self._listener.accept()
        message, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        while not message.endswith(b"\n"):
            message += connection.recv(1 << 20)
        asked = json.loads(message)
        if asked is None:
            self._holders.add(connection)
            self._selector.register(connection, selectors.EVENT_READ)
            return None
        pid = os.fork()
        if not pid:
            for each in (self._listener, self._woken, self._wakes, connection, *self._holders, *self._asking.values()):
                each.close()
            return _prepared(asked, streams)
        for stream in streams:
            os.close(stream)
        connection.sendall(f"{pid}\n".encode())
        self._asking[pid] = connection
        return None

    def _reap(self) -> None:
        while self._asking and (ended := os.waitpid(-1, os.WNOHANG))[0]:
            with self._asking.pop(ended[0]) as connection, suppress(OSError):
                connection.sendall(f"{os.waitstatus_to_exitcode(ended[1])}\n".encode())


def _prepared(asked: dict[str, Any], streams: Sequence[int]) -> Callable[[], object]:
    """The job of this process, which becomes like one that was started anew."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if asked["group"]:
        os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    module, _, name = asked["job"].partition(":")
    return partial(getattr(import_module(module), name), *asked["args"])


def _serve(address: Path, modules: Sequence[str]) -> None:
    if os.fork():  # whoever starts it does not wait for its end
        os._exit(0)
    for name in modules:
        import_module(name)
    gc.freeze()  # else each fork looks through all of it at its end, which copies it and takes a second
    address.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen()
    job = _Server(listener).run()
    if job is not None:
        job()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), sys.argv[2:])
