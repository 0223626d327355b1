"""The command `findna`, and `python -m findna_cli`."""

import signal
import sys

from findna_cli.signals import end_signals, keep_signals


def main() -> None:
    """Load the commands and run one; Ctrl-C during loading, or a second one, ends without a traceback."""
    keep_signals()
    try:
        from findna_cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        end_signals()


if __name__ == "__main__":
    main()
