"""Ctrl-C and SIGTERM, noted so that a run ends where it can resume."""

import signal


def catch_signals(*, once: bool = False) -> list[int]:
    """SIGINT and SIGTERM from now on, as they come.

    Args:
        once: A second one ends the process, for who asks twice will not wait. Not for the processes of a launcher:
            it sends them its own after the terminal's.
    """
    caught: list[int] = []

    def note(number: int, frame: object) -> None:
        caught.append(number)
        if once:
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    return caught
