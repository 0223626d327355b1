"""Ctrl-C and SIGTERM, noted so that a run ends where it can resume."""

import signal


def catch_signals(caught: list[int] | None = None, *, once: bool = False) -> list[int]:
    """SIGINT and SIGTERM from now on, as they come.

    Args:
        caught: Where they are noted.
        once: A second one ends the process, for who asks twice will not wait. Not for the processes of a launcher:
            it sends them its own after the terminal's.
    """
    noted = [] if caught is None else caught

    def note(number: int, frame: object) -> None:
        noted.append(number)
        if once:
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    return noted
