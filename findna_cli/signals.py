"""Catches Ctrl-C and SIGTERM, so that a run ends where it can resume."""

import signal


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
        signal.signal(number, note)
    return noted
