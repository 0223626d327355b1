"""The command `findna`, and `python -m findna_cli`."""

import sys


def main() -> None:
    """Load the commands and run one; Ctrl-C during loading ends without a traceback."""
    try:
        from findna_cli.app import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
