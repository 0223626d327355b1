"""Catches Ctrl-C and SIGTERM, so that a run ends where it can resume, and none is lost."""

import signal
import sys
from typing import NoReturn

_AGAIN = 0.01
"""Seconds after which a lost signal is raised again."""


def catch_signals(caught: list[int] | None = None, *, once: bool = False) -> list[int]:
    """A list that gets every SIGINT and SIGTERM from now on.

    Args:
        caught: The list.
        once: A second signal ends the process. Not for processes of a launcher, which sends its own signal after
            that of the terminal.
    """
    noted = [] if caught is None else caught

    def note(number: int, frame: object) -> None:
        noted.append(number)
        if once:
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as a shell sets it for a job in the background
            signal.signal(number, note)
    return noted


def keep_signals() -> None:
    """Raise the end of a signal again that came within a destructor or callback, where Python prints and drops it."""

    def dropped(what: "sys.UnraisableHookArgs") -> None:
        end = what.exc_value
        if not isinstance(end, KeyboardInterrupt | SystemExit):
            sys.__unraisablehook__(what)
            return

        def again(number: int, frame: object) -> NoReturn:
            raise end

        signal.signal(signal.SIGALRM, again)
        signal.setitimer(signal.ITIMER_REAL, _AGAIN)

    sys.unraisablehook = dropped


def end_signals() -> None:
    """From now on a signal ends the process at once: while Python shuts down, its exception would be a traceback."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
